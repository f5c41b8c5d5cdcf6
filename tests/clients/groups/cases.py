"""What is tried with every client, and how a client says what it saw.

This runs in the clients' own environments, so it needs the standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

RANKING = "ranking"
INSTRUCTION = "instruction"
EMPTY = "empty documents"
KEY = "wrong key"
MODEL = "unknown model"
FULL = "full server"
ERRORS = (EMPTY, KEY, MODEL, FULL)
CASES = (RANKING, INSTRUCTION, *ERRORS)

WRONG_KEY = "not-the-key"
UNKNOWN_MODEL = "no-such-model"
# What a message must say to be of use to whoever reads it.
TELLS = {EMPTY: ("documents", "texts"), KEY: ("key",), MODEL: (UNKNOWN_MODEL,), FULL: ("try again later",)}
TOLERANCE = 1e-6
AS_IT_DOES = "as that client does:"  # whatever a server answers

Ranking = list[tuple[int, "float | None"]]


# ---------------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Ask:
    """One call of a client: ``url`` is a server's root, without a slash at its end.

    ``instruction`` is only there for a client that can send one.
    """

    url: str
    key: str
    model: str
    query: str
    documents: list[str]
    instruction: str | None = None


@dataclass(frozen=True)
class There:
    """The servers, and what they should answer. ``scores`` are in [0, 1], ``logits`` are not; both in document order.

    ``strict`` knows only its own model, ``keyed`` asks for ``key``, ``full`` answers 429 with ``Retry-After`` once and
    is an ordinary server then. ``retry_after`` is in seconds. The model of ``instructed`` takes an instruction, and has
    ``instructed_scores`` with this one.
    """

    strict: str
    keyed: str
    full: str
    key: str
    model: str
    query: str
    documents: list[str]
    scores: list[float]
    logits: list[float]
    retry_after: float
    instructed: str
    instruction: str
    instructed_scores: list[float]

    def ask(self, url: str, *, key: str | None = None, model: str | None = None, documents: bool = True) -> Ask:
        """A question to one of the servers."""
        return Ask(url, key or self.key, model or self.model, self.query, list(self.documents) if documents else [])


# ---------------------------------------------------------------------------- what is expected


@dataclass(frozen=True)
class Raises:
    """The client's own error; with the server's reason in it, unless ``silent``: then it is how that client is."""

    error: type[BaseException]
    silent: bool = False
    field: tuple[str, Callable[[Any], Any]] | None = None  # something the error says besides: its name, how to read it


@dataclass(frozen=True)
class Returns:
    """No error at all: how that client is."""

    value: Any


@dataclass(frozen=True)
class Waits:
    """It asks again after ``Retry-After``, and gets its answer."""


@dataclass(frozen=True)
class AsksAgain:
    """It asks again at a pace of its own, and gets its answer."""


@dataclass(frozen=True)
class SendsNone:
    """It sends no model, so there is nothing to refuse."""


@dataclass(frozen=True)
class Ranks:
    """It gets its answer all the same: a body of text-embeddings-inference names no model, and ours reads none."""


Expected = Raises | Returns | Waits | AsksAgain | SendsNone | Ranks


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client under test, by the name that ``listed.py`` has for it.

    ``ask`` returns a ranking, best first: positions, and scores where the client shows them (``logits``: as logits).
    ``text`` is what a person reads of an error, ``named`` what the page calls it. ``instructs``: it sends the
    instruction of an ``Ask``.
    """

    name: str
    package: str | None
    ask: Callable[[Ask], Any]
    expected: Mapping[str, Expected]
    logits: bool = False
    sends_key: bool = True
    instructs: bool = False
    text: Callable[[BaseException], str] = str
    named: Callable[[Any], str] = lambda error: type(error).__name__


# ---------------------------------------------------------------------------- trying it


@dataclass(frozen=True)
class Seen:
    """How a case went: ``shows`` is for the page, the same in every equal run; ``detail`` is for whoever mends it."""

    ok: bool | None  # None: it was not run
    shows: str
    detail: str = ""


def run(clients: Sequence[Client]) -> None:
    """Try every case with every client; a line of JSON for each, as soon as it is known."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no line of ours
    there = There(**json.loads(os.environ["CLIENTS_THERE"]))
    for client in clients:
        for case in CASES:
            if case == INSTRUCTION and not client.instructs:
                continue
            seen = _try(client, case, there)
            print(
                json.dumps(
                    {
                        "client": client.name,
                        "version": _version(client.package),
                        "case": case,
                        "ok": seen.ok,
                        "shows": seen.shows,
                        "detail": seen.detail,
                    }
                ),
                file=lines,
                flush=True,
            )


def _version(package: str | None) -> str:
    try:
        return version(package) if package else "-"
    except PackageNotFoundError:
        return "-"


def _try(client: Client, case: str, there: There) -> Seen:
    if case == RANKING:
        return _ranks(client, there, there.ask(there.strict))
    if case == INSTRUCTION:
        ask = replace(there.ask(there.instructed), instruction=there.instruction)
        return _ranks(client, replace(there, scores=there.instructed_scores), ask)
    expected = client.expected[case]
    if isinstance(expected, SendsNone):
        return Seen(None, "sends no model")
    if case == EMPTY:
        return _judge(client, case, expected, there.ask(there.strict, documents=False))
    if case == MODEL:
        ask = there.ask(there.strict, model=UNKNOWN_MODEL)
        if isinstance(expected, Ranks):
            ranked = _ranks(client, there, ask)
            return Seen(True, "ranks, as no model is read there") if ranked.ok else ranked
        return _judge(client, case, expected, ask)
    if case == KEY:
        refused = _judge(client, case, expected, there.ask(there.keyed, key=WRONG_KEY))
        let_in = _ranks(client, there, there.ask(there.keyed)) if client.sends_key else Seen(True, "")
        return refused if let_in.ok else Seen(False, f"with the right key: {let_in.shows}", let_in.detail)
    return _when_full(client, expected, there)


def _ranks(client: Client, there: There, ask: Ask) -> Seen:
    wanted = there.logits if client.logits else there.scores
    order = sorted(range(len(wanted)), key=lambda index: -wanted[index])
    try:
        ranking = client.ask(ask)
    except BaseException as error:
        return Seen(False, f"`{client.named(error)}`", _story(client, error))
    if not isinstance(ranking, list) or [index for index, _ in ranking] != order:
        return Seen(False, "another order than ours", f"{ranking!r}, ours is {order}")
    shown = [(index, score) for index, score in ranking if score is not None]
    worst = max((abs(score - wanted[index]) for index, score in shown), default=0.0)
    if worst > TOLERANCE:
        return Seen(False, "other scores than ours", f"up to {worst:.2g} away: {ranking!r}")
    return Seen(True, "order and scores" if shown else "order")


def _judge(client: Client, case: str, expected: Expected, ask: Ask) -> Seen:
    try:
        returned = client.ask(ask)
    except BaseException as error:
        story, name = _story(client, error), f"`{client.named(error)}`"
        if not isinstance(expected, Raises) or type(error) is not expected.error:
            return Seen(False, name, f"{story}; expected {expected}")
        if expected.silent:
            return Seen(True, f"{AS_IT_DOES} {name}, without the reason", story)
        if not any(word in client.text(error) for word in TELLS[case]):
            return Seen(False, f"{name}, without the reason", story)
        if expected.field:
            what, read = expected.field
            has = bool(read(error))
            return Seen(has, f"{name}, {'with' if has else 'without'} {what}", story)
        return Seen(True, name, story)
    if isinstance(expected, Returns) and returned == expected.value:
        return Seen(True, f"{AS_IT_DOES} returns `{returned!r}`")
    return Seen(False, "no error", f"it returned {returned!r}; expected {expected}")


def _when_full(client: Client, expected: Expected, there: There) -> Seen:
    _front(there, "reset")
    if isinstance(expected, Raises | Returns):
        seen = _judge(client, FULL, expected, there.ask(there.full))
        attempts = _front(there, "attempts")
        if seen.ok and attempts["count"] != 1:
            return Seen(False, "asks again all the same", f"{attempts}")
        return seen
    seen = _ranks(client, there, there.ask(there.full))
    attempts = _front(there, "attempts")
    if not seen.ok:
        return seen
    if attempts["count"] < 2:
        return Seen(False, "it never met the full server", f"{attempts}")
    if isinstance(expected, AsksAgain):
        return Seen(True, "asks again at a pace of its own, and ranks")
    if attempts["waited"] < there.retry_after:
        return Seen(False, "asks again before `Retry-After`", f"{attempts}")
    return Seen(True, "waits as `Retry-After` says, and ranks")


def _front(there: There, what: str) -> Any:
    with urllib.request.urlopen(f"{there.full}/-/{what}", timeout=10) as answer:
        return json.load(answer)


def _story(client: Client, error: BaseException) -> str:
    text = re.sub(r"\s+", " ", client.text(error)).strip()
    return f"{type(error).__module__}.{type(error).__qualname__}: {text[:600]}"
