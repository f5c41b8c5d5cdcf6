"""Asks clients of npm. Each question is one run of node, in the folder that has the clients and the scripts of ``npm``.

An error of JavaScript becomes an exception of the same name.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict

from cases import Ask, Ranking

_LIMIT = 60.0  # seconds; a client that waits for a full server among them
_errors: dict[str, type[Exception]] = {}


def error(name: str) -> type[Exception]:
    """The exception that stands for the errors of this name."""
    return _errors.setdefault(name, type(name, (Exception,), {}))


def asks(module: str, function: str) -> Callable[[Ask], Ranking]:
    """A function that asks by a function of one of the modules in ``npm``."""

    def ask(question: Ask) -> Ranking:
        done = subprocess.run(
            ["node", "ask.mjs", module, function],
            cwd=os.environ["CLIENTS_ENVIRONMENT"],
            input=json.dumps(asdict(question)),
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=True,
        )
        said = json.loads(done.stdout)
        if "error" in said:
            raise error(said["error"])(said["message"])
        return [(index, score) for index, score in said["ranking"]]

    return ask
