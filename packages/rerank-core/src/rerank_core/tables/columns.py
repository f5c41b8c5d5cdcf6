"""Finds the column of a table that holds what is wanted, by its usual names or the one that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_core.errors import InvalidRequest

PASSAGE_NAMES = ("text", "passage", "document", "content", "contents", "body")

_MOST_SHOWN = 20
_LONGEST, _MOST_WORDS = 40, 4  # of a name: more is a text, where a file has no header


def choose_column(columns: Sequence[str], asked: str | None, usual: Sequence[str], *, name: str, way_out: str) -> str:
    """Choose the column ``asked`` for, or the only one with a usual name, of which the first stands above the others.

    Raises ``InvalidRequest`` with the file's ``name``, its columns and the way out where that is none or several.
    """
    if asked is not None:
        if asked in columns:
            return asked
        raise InvalidRequest(f"{name} has no column {asked!r}: it has {listed(columns)}")
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    found = [by_name[own] for own in usual if own in by_name]
    if len(found) == 1 or (found and found[0].strip().lower() == usual[0]):
        return found[0]
    if len(columns) == 1 and not found:
        raise InvalidRequest(f"{name} has one column, {listed(columns)}: {way_out}")
    which = f"{listed(found)}, which may all be meant" if found else f"{listed(columns)}, none of them {usual[0]!r}"
    raise InvalidRequest(f"{name} has the columns {which}: {way_out}")


def listed(columns: Sequence[str]) -> str:
    """List names for a message; a text that stands where a name should is not shown."""
    shown = [repr(column) if is_name(column) else "(a text)" for column in columns[:_MOST_SHOWN]]
    more = len(columns) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def is_name(text: str) -> bool:
    """Tell whether a text may be the name of a column."""
    return len(text) <= _LONGEST and len(text.split()) <= _MOST_WORDS
