"""The mock host: the component as it is shipped, run under its real limits against a world in memory, without a server.

Commands are those of `patchbay plugin mock`; Patchbay's plugins/README.md lists them.
"""

import json
import os
import subprocess

PROGRAM = os.environ.get("PATCHBAY", "patchbay")


class Failure(Exception):
    """What the mock host refuses: `code` is stable, the text a sentence."""

    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code


def build():
    try:
        built = subprocess.run([PROGRAM, "plugin", "build"], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"there is no {PROGRAM}: put patchbay on the path, or set PATCHBAY to where it is") from error
    if built.returncode != 0:
        raise RuntimeError("the plugin was not built, see above")
    return built.stdout.strip().splitlines()[-1]


class Mock:
    def __init__(self, *options):
        """Builds this project if anything has changed, and loads it. Options are those of `patchbay plugin mock`."""
        component = build()
        self._child = subprocess.Popen(
            [PROGRAM, "plugin", "mock", component, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.communicate()

    def _answer(self):
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the mock host has ended; what it said stands above")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(**answer["error"])
        return answer["ok"]

    def ask(self, command, **fields):
        """One command; what it answers. `as_` stands for `as`, which is a word of Python."""
        if "as_" in fields:
            fields["as"] = fields.pop("as_")
        self._child.stdin.write(json.dumps({"do": command, **fields}) + "\n")
        self._child.stdin.flush()
        return self._answer()
