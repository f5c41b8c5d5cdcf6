"""CSV and TSV, with the separator that the file has."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import islice

from rerank_core.errors import InvalidRequest

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_ROWS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a delimited file is written.

    - ``separator`` between cells; ``quotes``: whether a cell in quotation marks may hold separators and line ends.
    - ``line_end``: a line feed, perhaps behind a carriage return; ``skipped``: lines before the header (``sep=;``).
    """

    separator: str
    quotes: bool
    line_end: str
    skipped: int = 0

    def __str__(self) -> str:
        name = _SEPARATORS.get(self.separator, repr(self.separator))
        return f"{'TSV' if self.separator == chr(9) else 'CSV'} with {name} between columns"


def find_layout(head: str, *, is_tsv: bool, is_whole: bool = False) -> Layout:
    """Find the layout by the beginning of a file. ``is_whole``: that is all of it, else its last line may be cut."""
    line_end = "\r\n" if "\r\n" in head else "\n"
    first = head.split("\n", 1)[0].strip("\r").lower()
    if first.startswith("sep=") and len(first) == 5:
        return Layout(separator=first[4], quotes=True, line_end=line_end, skipped=1)
    if not is_whole:
        head = head[: head.rfind("\n") + 1] or head
    if is_tsv:
        return Layout(separator="\t", quotes=_has_quotes(head), line_end=line_end)
    best, most = ",", (False, 1)
    for separator in _SEPARATORS:
        widths = [len(row) for row in _first_rows(head, separator)]
        found = (len(set(widths)) == 1, widths[0] if widths else 0)
        if found[1] > 1 and found > most:
            best, most = separator, found
    return Layout(separator=best, quotes=True, line_end=line_end)


def read_rows(lines: Iterable[str], layout: Layout, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row's first line, from 1, with its cells; blank lines are passed over.

    ``lines`` keep their ends. Raises ``InvalidRequest`` for a row with more or fewer cells than the first one, which
    nobody can tell the columns of, and for quotation marks that do not match.
    """
    csv.field_size_limit(sys.maxsize)  # a document may have more than 128 KiB
    reader = csv.reader(
        islice(iter(lines), layout.skipped, None),
        delimiter=layout.separator,
        quoting=csv.QUOTE_MINIMAL if layout.quotes else csv.QUOTE_NONE,
        strict=True,
    )
    width = None
    while True:
        number = reader.line_num + layout.skipped + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InvalidRequest(
                f"{name}, line {number} cannot be read as {layout} ({error}): a cell that holds a quotation mark "
                "stands in quotation marks, with its own ones doubled"
            ) from None
        if cells is None:
            return
        if not cells:
            continue
        if width is None:
            width = len(cells)
        if len(cells) != width:
            raise InvalidRequest(
                f"{name}, line {number} has {len(cells)} columns, and the first line {width}, read as {layout}: put "
                "cells that hold the separator into quotation marks"
            )
        yield number, cells


def name_columns(header: list[str], name: str) -> tuple[str, ...]:
    """Return the names of the columns; one without a name is called by its number. Raises ``InvalidRequest``."""
    columns = tuple(cell.strip() or f"column {number}" for number, cell in enumerate(header, start=1))
    if twice := [column for number, column in enumerate(columns) if column in columns[:number]]:
        raise InvalidRequest(f"{name} has two columns {twice[0][:40]!r}: give each its own name")
    return columns


def _first_rows(head: str, separator: str) -> list[list[str]]:
    reader = csv.reader(StringIO(head, newline=""), delimiter=separator)
    try:
        return [row for row in islice(reader, _ROWS_LOOKED_AT) if row]
    except csv.Error:
        return []


def _has_quotes(head: str) -> bool:
    """Tell whether the cells of a TSV are quoted where they must be. Most are not, and may begin with a quotation mark.

    Quoted, every line or cell that begins with a mark is well formed; not quoted, all lines have the same tabs.
    """
    lines = [line for line in head.splitlines() if line]
    if not any('"' in line for line in lines):
        return False
    try:
        rows = [row for row in csv.reader(StringIO(head, newline=""), delimiter="\t", strict=True) if row]
    except csv.Error:
        return False
    if len({len(row) for row in rows}) > 1:
        return False
    # Both readings fit: a quoted cell has a reason to be.
    return len({line.count("\t") for line in lines}) > 1 or any(
        cell.startswith('"') and cell.endswith('"') and '""' in cell[1:-1]
        for line in lines
        for cell in line.split("\t")
    )
