"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text, and the others numbers."""
    marks = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(line(cells) for cells in [columns, marks, *rows])


def line(cells: Sequence[str]) -> str:
    """One row of it."""
    return f"| {' | '.join(cells)} |"
