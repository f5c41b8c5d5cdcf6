"""A whole file of rows, in any of the formats."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from rerank_core.errors import InvalidRequest
from rerank_core.tables.arrow import read_arrow, read_dataset, read_parquet
from rerank_core.tables.delimited import Layout, find_layout, name_columns, read_rows
from rerank_core.tables.encodings import decode
from rerank_core.tables.formats import Format, is_gzipped, recognize
from rerank_core.tables.json_rows import read_json_array, read_json_lines

LINE = "line"
"""The one column of plain text, and of JSON that is strings."""

_HEAD = 1 << 16  # bytes that a format is recognised by
_BEGINNING = 1 << 20  # characters that a layout is found by


@dataclass(frozen=True, slots=True)
class Row:
    """The values of a row by the names of its columns, and its place in the file, such as ``line 7``."""

    place: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a file, in its order.

    - ``name``: of the file, for messages; ``description``: what it was read as.
    - ``columns``: those of the header, or of the first row.
    - ``plain_unit``: what holds a text, ``line`` or ``string``, where a row is one text, in the column ``LINE``; else
      None.
    - ``layout``: of a CSV or TSV, which may lack a header; else None.
    """

    name: str
    description: str
    columns: tuple[str, ...]
    rows: list[Row]
    plain_unit: Literal["line", "string"] | None = None
    layout: Layout | None = None

    def text(self, row: Row, column: str) -> str:
        """Return a row's text. Raises ``InvalidRequest`` with its place where it has none."""
        value = row.values.get(column)
        if value is None:
            raise InvalidRequest(f"{self.name}, {row.place} has no {column!r}: fill it in, or take the row out")
        if not isinstance(value, str):
            raise InvalidRequest(f"{self.name}, {row.place}: {column!r} is {type(value).__name__}, not a string")
        return value

    def identity(self, row: Row, column: str) -> str:
        """Return a row's id, of a string or a whole number. Raises ``InvalidRequest`` with its place for others."""
        value = row.values.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            what = "has no" if value in (None, "") else f"has a {type(value).__name__} as"
            raise InvalidRequest(f"{self.name}, {row.place} {what} {column!r}: an id is a string or a whole number")
        return str(value)


def read_table(path: Path, *, form: Format | None = None, header: bool = True) -> Table:
    """Read a file, or a folder of ``datasets``. See ``parse_table``. Raises ``InvalidRequest``."""
    if path.is_dir():
        return _of_arrow(read_dataset(path), str(path), "a folder of datasets")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    return parse_table(content, str(path), form=form, header=header)


def parse_table(content: bytes, name: str, *, form: Format | None = None, header: bool = True) -> Table:
    """Parse a file's bytes. ``name``: the file's, which may say its format, unless ``form`` does.

    ``header``: whether the first row of a CSV or TSV has the names of its columns; without, they are called by their
    numbers from 1. Raises ``InvalidRequest`` with the file's name, the place and the way out.
    """
    if is_gzipped(content):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidRequest(f"{name} is not a whole gzip file: {error}") from error
    found = recognize(name, content[:_HEAD], form)
    if found == "parquet":
        return _of_arrow(read_parquet(content, name), name, "Parquet")
    if found == "arrow":
        return _of_arrow(read_arrow(content, name), name, "Arrow")
    text = decode(content, name)
    if found == "text":
        rows = [Row(f"line {n}", {LINE: line.strip()}) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        return Table(name=name, description="plain text", columns=(LINE,), rows=rows, plain_unit="line")
    if found == "jsonl":
        return _of_values(read_json_lines(text, name), name, "JSON lines")
    if found == "json":
        return _of_values(read_json_array(text, name), name, "a JSON array")
    return _delimited(text, name, is_tsv=found == "tsv", header=header)


def _delimited(text: str, name: str, *, is_tsv: bool, header: bool) -> Table:
    layout = find_layout(text[:_BEGINNING], is_tsv=is_tsv, is_whole=len(text) <= _BEGINNING)
    found = read_rows(StringIO(text, newline=""), layout, name)
    first = next(found, None)
    if first is None:
        return Table(name=name, description=str(layout), columns=(), rows=[], layout=layout)
    columns = name_columns(first[1], name) if header else tuple(str(n) for n in range(1, len(first[1]) + 1))
    numbered = found if header else iter([first, *found])
    # An empty cell is a missing value: a table has no other way to write it.
    rows = [
        Row(f"line {number}", {column: cell or None for column, cell in zip(columns, cells, strict=True)})
        for number, cells in numbered
    ]
    description = f"{layout}{'' if header else ' and no header'}"
    return Table(name=name, description=description, columns=columns, rows=rows, layout=layout)


def _of_values(values: Iterable[tuple[str, Any]], name: str, description: str) -> Table:
    rows: list[Row] = []
    is_plain = False
    for place, value in values:
        if not rows:
            is_plain = isinstance(value, str)
        if isinstance(value, str) is not is_plain or not isinstance(value, str | dict):
            wanted = "a string, as the first is" if is_plain else "a JSON object"
            raise InvalidRequest(f"{name}, {place} is {type(value).__name__}, not {wanted}")
        rows.append(Row(place, {LINE: value} if isinstance(value, str) else value))
    columns = tuple(rows[0].values) if rows else ()
    unit: Literal["string"] | None = "string" if is_plain else None
    return Table(name=name, description=description, columns=columns, rows=rows, plain_unit=unit)


def _of_arrow(table: Any, name: str, description: str) -> Table:
    columns = tuple(table.column_names)
    try:
        records: list[dict[str, Any]] = table.to_pylist()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} holds text that is not UTF-8: write it again with valid text") from None
    rows = [Row(f"row {number}", record) for number, record in enumerate(records, start=1)]
    return Table(name=name, description=description, columns=columns, rows=rows)
