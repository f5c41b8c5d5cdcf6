"""Decoding of JSON bodies in short steps, so that a large body does not block the event loop.

Decoding holds the interpreter lock, in whatever thread it runs. So the values of a large body are counted first, which
is cheap, and it is decoded only where it has no more values than a request may have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from rerank_core.errors import TooManyDocuments

from rerank_server.errors import MalformedBody, TooManyValues
from rerank_server.routes.body.metadata import utf8

Steps: TypeAlias = Generator[None, None, Any]

_WINDOW = 128 * 1024  # bytes that one match may look at
_STEP = 256 * 1024  # bytes to look over in one step, a few milliseconds
_TOKEN = 64  # bytes that could be looked over in the time that a token takes
_PART_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_NO_STRUCTURE = re.compile(rb'[^"\[\]{},]*+')
_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
# Half of a character beyond U+FFFF, with something else behind it: msgspec says of some that the body is truncated.
_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*+\\u[dD][89abAB][0-9a-fA-F]{2}(?:[^\\]|\\[^u]|\\u(?![dD][c-fC-F]).)", re.DOTALL
)
_OPENING, _CLOSING = frozenset(b"[{"), frozenset(b"]}")


class JsonReader:
    """Reads JSON objects with at most ``max_values`` values: numbers, strings, arrays and objects.

    The values of a body that may have more than ``at_once`` are counted first, and only its ``fields`` are decoded: the
    others are neither decoded nor counted. ``arrays`` are the fields that hold documents: each may have at most
    ``max_documents``.
    """

    def __init__(
        self, fields: Collection[str], *, arrays: Collection[str], max_documents: int, max_values: int, at_once: int
    ) -> None:
        kinds: list[tuple[str, Any, Any]] = [(name, Raw | UnsetType, UNSET) for name in sorted(fields)]
        self._fields: type[Struct] = msgspec.defstruct("Fields", kinds)
        self._arrays = frozenset(arrays)
        self._max_documents = max_documents
        self._max_values = max_values
        self._at_once = at_once

    def read(self, body: bytes, content_type: str | None) -> Steps:
        """A generator that yields between steps, and returns the decoded body.

        Of duplicate keys the last one counts. A large array is returned empty: no dialect reads one. Raises as
        ``utf8``, and ``MalformedBody`` for a text that is not one JSON value, ``TooManyDocuments``, ``TooManyValues``.
        """
        body = utf8(body, content_type)
        at_most = 1
        for mark in (b",", b"[", b"{"):  # those within strings are counted too: that is quick
            yield
            at_most += body.count(mark)
        yield
        if at_most <= self._at_once:
            return _decoded(body, Any)
        raws = _decoded(body, self._fields if body.lstrip()[:1] == b"{" else Raw)
        yield
        if isinstance(raws, Raw):
            return []
        given = {name: getattr(raws, name) for name in self._fields.__struct_fields__}
        return (yield from self._values({name: bytes(raw) for name, raw in given.items() if raw is not UNSET}))

    def _values(self, given: Mapping[str, bytes]) -> Steps:
        """Count the values of each field, and decode the field where there are not too many."""
        left, values = self._max_values, {}
        for name, raw in given.items():
            limit = self._max_documents if name in self._arrays and raw[:1] == b"[" else None
            counted = yield from _count(raw, left, limit, name)
            if counted > left:
                raise TooManyValues(
                    f"the request has more than {self._max_values} JSON values: send fewer fields with each document, "
                    "or several requests"
                )
            left -= counted
            values[name] = _decoded(raw, Any)
            yield
        return values


def drain(steps: Steps) -> Any:
    """Run all steps at once, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise MalformedBody("the JSON is nested too deeply") from None
    except ValueError as error:  # msgspec's own, invalid UTF-8, numbers beyond every limit
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else _reason(str(error), body)
        raise MalformedBody(f"the body is not JSON: {reason}") from None


def _reason(message: str, body: bytes) -> str:
    """Translate a message of msgspec, such as ``JSON is malformed: trailing comma in object (byte 31)``."""
    if message == "Input data was truncated" and not _LONE_SURROGATE.search(body):
        return "it ends too early"
    if message == "Input data was truncated" or "surrogate" in message:
        return "a string has a lone surrogate, half of a character: send whole characters"
    reason = message.removeprefix("JSON is malformed: ").partition(" - at `$")[0]
    return f"{reason[0].lower()}{reason[1:]}"


def _count(raw: bytes, enough: int, max_elements: int | None, name: str) -> Generator[None, None, int]:
    """Count the values in a valid JSON value; the count stops above ``enough``.

    Raises ``TooManyDocuments`` for an array with more than ``max_elements``.
    """
    if raw[0] not in _OPENING:
        return 1
    values = elements = 1
    position = depth = work = 0
    in_string = False
    while position < len(raw):
        if work > _STEP:
            work = 0
            yield
        begin, end = position, min(position + _WINDOW, len(raw))
        found = (_PART_OF_STRING if in_string else _NO_STRUCTURE).match(raw, begin, end)
        position = found.end() if found else end
        work += position - begin + _TOKEN
        if position == end or (in_string and raw[position] == _BACKSLASH):
            continue  # the window ended, perhaps within an escape
        token = raw[position]
        position += 1
        if token == _QUOTE:
            in_string = not in_string
        elif token in _OPENING:
            depth += 1
            values += 1
        elif token in _CLOSING:
            depth -= 1
        else:
            values += 1
            elements += depth == 1
        if max_elements is not None and elements > max_elements:
            raise TooManyDocuments(
                f"{name} has more than the {max_elements} documents that a request may have: "
                "send several requests (the limit is RERANK_MAX_DOCUMENTS)"
            )
        if values > enough:
            break
    return values
