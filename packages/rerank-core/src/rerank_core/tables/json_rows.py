"""JSON lines and JSON arrays: each value is an object, or all are strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rerank_core.errors import InvalidRequest


def read_json_lines(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the place of each value, ``line 7``, and the value; blank lines are passed over.

    Raises ``InvalidRequest`` naming the line that is not JSON.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            way_out = "write one JSON value a line" if number > 1 else "write one JSON value a line, or one array"
            raise InvalidRequest(f"{name}, line {number} is not JSON ({_short(error)}): {way_out}") from None


def read_json_array(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the place of each value, ``item 7``, and the value. Raises ``InvalidRequest`` for what is no array."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not a whole JSON array ({_short(error)})") from None
    if not isinstance(values, list):
        raise InvalidRequest(f"{name} holds one JSON {type(values).__name__}, not an array of rows")
    for number, value in enumerate(values, start=1):
        yield f"item {number}", value


def _short(error: Exception) -> str:
    """Describe an error of the parser, which never holds the text."""
    return str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
