"""Greets people and counts how often."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.commands import Reply
from wit_world.imports import kv, users
from wit_world.imports.types import Error_Conflict, Error_Invalid, Reason


def key(user):
    return f"greetings/{user}"


def count(value):
    return 0 if value is None else int(value)


def count_up(user):
    """Adds one, however many calls do so at once."""
    for _ in range(32):
        before = kv.get(key(user))
        after = count(before) + 1
        if kv.compare_and_swap(key(user), before, str(after).encode()):
            return after
    # An error of the contract: the host makes the fitting HTTP status of it.
    raise Err(Error_Conflict(Reason("conflict", "too many greetings at once")))


class Http(exports.Http):
    def handle(self, request, caller, response):
        text = dict(request.params)["user_id"]
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
            raise Err(Error_Invalid(Reason("validation_failed", "user_id must be a positive integer")))
        user = users.get(caller, int(text))
        body = {"user": user.username, "count": count(kv.get(key(user.id)))}
        response.start(200, [("content-type", "application/json")])
        response.write(json.dumps(body).encode())


class Commands(exports.Commands):
    def run(self, caller, invocation):
        user = users.get(caller, caller.user_id())
        return Reply(f"Hello {user.username}, greeting number {count_up(user.id)}.")
