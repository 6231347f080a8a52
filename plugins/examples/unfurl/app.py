"""Previews of the pages that messages link to.

The plugin hears of messages where its bot is a member, asks the linked servers, which an operator allows one by one
(`egress:HOST`), and keeps what they say with the message: `preview/MESSAGE` is a list of previews. Readers see it at the message.
"""

import json

from componentize_py_types import Err
from page import links, preview
from wit_world import exports
from wit_world.exports.decorator import Decoration
from wit_world.imports import http_client, identity, kv, log
from wit_world.imports.event_types import Outcome_Ok, Outcome_Retry
from wit_world.imports.http_client import Outgoing
from wit_world.imports.kv import Change_Put, Event, Put
from wit_world.imports.types import Error_Unavailable

MOST_LINKS = 3
# The head of a page is at its beginning.
READ_BYTES = 256 * 1024


def key(message):
    return f"preview/{message}"


def fetch(url):
    """The preview of a page; None if there is none to be had. Raises Err if trying later can help."""
    try:
        answer = http_client.send(Outgoing("GET", url, [("accept", "text/html")], b"", 5000))
    except Err as error:
        if isinstance(error.value, Error_Unavailable):
            raise
        # Not granted, not public, too large: no preview, and no reason to try again.
        log.write(log.Level.INFO, f"no preview of {url}: {error.value.value.detail}")
        return None
    kind = dict(answer.headers).get("content-type", "")
    if answer.status != 200 or not kind.startswith("text/html"):
        return None
    return preview(url, answer.body[:READ_BYTES].decode("utf-8", "replace"))


def handle(entry):
    message = json.loads(entry.payload)
    urls = links(message["content"], MOST_LINKS)
    previews = [found for found in map(fetch, urls) if found]
    if not previews and kv.get(key(message["id"])) is None:
        return
    # Twice does no harm: the same key. The event tells clients, which may have the message on their screens.
    bot = identity.bot()
    put = Put(key(message["id"]), json.dumps(previews).encode(), message["id"])
    told = json.dumps({"message_id": message["id"], "previews": previews})
    kv.commit(bot, [Change_Put(put)], [Event("previewed", entry.channel, told)])


class Events(exports.Events):
    def handle(self, entries):
        outcomes = []
        for entry in entries:
            try:
                handle(entry)
                outcomes.append(Outcome_Ok())
            except Err as error:
                detail = error.value.value.detail
                if isinstance(error.value, Error_Unavailable):
                    # This one and those after it come again.
                    outcomes.append(Outcome_Retry(detail))
                    break
                log.write(log.Level.WARN, f"no preview: {detail}")
                outcomes.append(Outcome_Ok())
        return outcomes


class Decorator(exports.Decorator):
    def decorate(self, viewer, messages):
        found = kv.get_many([key(message) for message in messages])
        pairs = zip(messages, found)
        return [Decoration(message, value.decode()) for message, value in pairs if value is not None]


class Http(exports.Http):
    def handle(self, request, caller, response):
        """`GET /api/plugins/unfurl/previews`: how many messages have previews, up to 1,000."""
        count = len(kv.scan("preview/", None, 1000))
        response.start(200, [("content-type", "application/json")])
        response.write(json.dumps({"count": count}).encode())
