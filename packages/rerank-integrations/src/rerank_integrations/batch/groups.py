"""Groups the rows of one query, and orders them best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rerank_core.errors import InvalidRequest

from rerank_integrations.batch.rows import Rows


def whole_groups(chunks: Iterator[Any], column: str) -> Iterator[tuple[Any, list[range]]]:
    """Yield the same rows in other parts: each ends where a group ends, and comes with the places of its groups.

    A group is rows one after the other with the same value of ``column``. A group that goes on over several chunks is
    held until its end. Raises ``InvalidRequest`` for a value that comes back after another: its rows would be two
    groups.
    """
    seen: set[int] = set()
    held: Any = None
    for chunk in chunks:
        rows = chunk if held is None else held.plus(chunk)
        groups = _groups(rows.values(column))
        *ended, last = groups
        held = rows.part(last.start, last.stop)
        if ended:
            yield rows.part(0, last.start), _new(rows, ended, column, seen)
    if held is not None:
        yield held, _new(held, [range(len(held))], column, seen)


def ranked(scores: Sequence[float | None], group: range, top_n: int | None) -> list[int]:
    """Order the rows of a group, best first; ties keep their order, and rows without a score come last."""
    order = sorted(group, key=lambda index: _place(scores[index]))
    return order[:top_n]


def _place(score: float | None) -> tuple[bool, float]:
    return score is None, -(score or 0.0)


def _groups(values: Sequence[object]) -> list[range]:
    groups, start = [], 0
    for _, members in groupby(values, key=_key):
        stop = start + sum(1 for _ in members)
        groups.append(range(start, stop))
        start = stop
    return groups


def _key(value: object) -> tuple[type, object]:
    """Return the key of a group; all values that cannot be a query's are one."""
    is_key = isinstance(value, str | int) and not isinstance(value, bool)
    return (type(value), value) if is_key else (type(None), None)


def _new(rows: Rows, groups: list[range], column: str, seen: set[int]) -> list[range]:
    values = rows.values(column)
    for group in groups:
        key = _key(values[group.start])
        if key[1] is not None and hash(key) in seen:
            raise InvalidRequest(
                f"{rows.place(group.start)} has a {column!r} that other rows had before it, with rows of another "
                f"between them: sort the file by {column!r}"
            )
        seen.add(hash(key))
    return groups
