"""Rows of a file in any format, and the checks of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from rerank_core.errors import InvalidRequest
from rerank_core.tables.columns import listed
from rerank_core.valid_text import check_text

from rerank_integrations.batch.job import Job, Kind

Added: TypeAlias = Mapping[str, Sequence[float | int | None]]
"""A column's name → its values, in the order in which the rows are written."""


class Rows(Protocol):
    """Some rows of a file, one after the other, in the file's own form."""

    def __len__(self) -> int: ...

    def values(self, column: str) -> Sequence[object]:
        """Return a column in Python's values; None for a row without it."""
        ...

    def place(self, index: int) -> str:
        """Describe where a row stands in its file: ``row 17``, counted from 1."""
        ...

    def row_error(self, index: int) -> str | None:
        """Return what is wrong with a row as a whole, in words that go on from its place; None where nothing is."""
        ...

    def part(self, start: int, stop: int) -> Self:
        """Return the rows from ``start`` to ``stop``, which is not included."""
        ...

    def plus(self, others: Self) -> Self:
        """Return these rows, and others after them."""
        ...


class Writer(Protocol):
    """Writes rows to a file."""

    def write(self, rows: Any, order: Sequence[int], added: Added) -> None:
        """Write the rows in ``order``, each with its own values of the columns that are added."""
        ...


class Source(Protocol):
    """A file that rows are read from. Its methods raise ``InvalidRequest`` for a file that is not what it should be."""

    @property
    def description(self) -> str:
        """What the file is read as."""
        ...

    def check(self, job: Job) -> None:
        """Refuse a file that lacks a column that is read, or has one that is added, where that can be told at once."""
        ...

    def count(self) -> int | None:
        """Return how many rows it has, where that can be told at once."""
        ...

    def chunks(self, size: int) -> Iterator[Any]:
        """Yield all rows in order, at most ``size`` at once, as ``Rows``."""
        ...

    def writer(self, path: Path, added: Mapping[str, Kind]) -> AbstractContextManager[Writer]:
        """Open a file of this form for writing, with columns added."""
        ...


def check_columns(path: Path, columns: Sequence[str], job: Job) -> None:
    """Raise ``InvalidRequest`` for columns without one that is read, or with one that is added."""
    for name in job.read:
        if name not in columns:
            raise InvalidRequest(
                f"{path} has no column {name!r}: it has {listed(columns)} (--id, --query and --document name others)"
            )
    for name in job.added:
        if name in columns:
            way_out = "name another with --score" if name == job.score else "take it out, or do without reranking"
            raise InvalidRequest(f"{path} has a column {name!r} already: {way_out}")


def validation_error(values: Mapping[str, object], job: Job) -> str | None:
    """Return why a row cannot be scored, in words that follow its place, never with its text; None where it can.

    ``values`` are those of the columns that are read.
    """
    texts = (job.columns.query, job.columns.document)
    for name, value in values.items():
        if value is None:
            return f"has no {name!r}"
        if name in texts:
            if isinstance(value, bytes):
                return f"has a {name!r} that is not UTF-8"
            try:
                check_text(value, f"its {name!r}")
            except InvalidRequest as error:
                return f"cannot be scored: {error}"
        elif isinstance(value, bool) or not isinstance(value, str | int):
            return f"has a {name!r} of type {type(value).__name__}, neither a string nor a whole number"
    return None
