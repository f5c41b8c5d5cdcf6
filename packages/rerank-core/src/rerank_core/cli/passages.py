"""Reads the passages of a file for ``rerank rank``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core.errors import InvalidRequest
from rerank_core.tables.columns import PASSAGE_NAMES, choose_column, listed
from rerank_core.tables.formats import Format
from rerank_core.tables.table import LINE, Table, parse_table, read_table

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, the row that it came in, where that has more than a text, and the row's id, where one is asked for."""

    text: str
    row: Mapping[str, Any] | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Passages:
    """The passages of a file, in its order, and a line that says what the file was read as."""

    passages: list[Passage]
    description: str


def read_passages(name: str, *, form: Format | None, column: str | None, id_column: str | None) -> Passages:
    """Read the passages of a file, of a folder of ``datasets``, or of standard input, for ``-``.

    ``column``: the one with the passages, by default one of the usual names; ``id_column``: the one with ids. A number
    that is no column's name is a place, counted from 1, in a CSV or TSV that has no header.

    Raises ``InvalidRequest`` for a file that cannot be read, or would be read as something else than it is.
    """
    if name != STANDARD_INPUT and Path(name).is_dir():
        return _passages(read_table(Path(name)), column, id_column)
    content = _read(name)
    places = {asked for asked in (column, id_column) if asked and asked.isdecimal()}
    table = parse_table(content, name, form=form, header=not places)
    if places and table.rows and places.issubset(map(str, table.rows[0].values.values())):
        table = parse_table(content, name, form=form)  # the numbers are names
    return _passages(table, column, id_column)


def _read(name: str) -> bytes:
    try:
        if name == STANDARD_INPUT:
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:  # noqa: PTH123 (a name of the caller's, `/dev/fd/3` among them)
            return file.read()
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from error


def _passages(table: Table, column: str | None, id_column: str | None) -> Passages:
    name = "standard input" if table.name == STANDARD_INPUT else table.name
    if not table.rows and not table.columns:
        return Passages([], f"{name} is {table.description}, with no passages")
    if table.plain_unit:
        if asked := column or id_column:
            raise InvalidRequest(f"{name} is {table.description}, which has no columns: leave {asked!r} out")
        passages = [Passage(table.text(row, LINE)) for row in table.rows]
        return Passages(passages, f"{name} is {table.description}: {_count(passages)}, each a {table.plain_unit}")
    way_out = "name that of the passages with --column"
    if table.layout:
        way_out += ", by its number where the file has no header"
    text = choose_column(table.columns, column, PASSAGE_NAMES, name=name, way_out=way_out)
    if id_column is not None:
        choose_column(table.columns, id_column, (), name=name, way_out="")
    passages = [
        Passage(table.text(row, text), row.values, table.identity(row, id_column) if id_column else None)
        for row in table.rows
    ]
    ids = f", ids from {id_column!r}" if id_column else ""
    others = [column for column in table.columns if column not in (text, id_column)]
    more = f"; not read: {listed(others)}" if others else ""
    return Passages(passages, f"{name} is {table.description}: {_count(passages)} from {text!r}{ids}{more}")


def _count(passages: list[Passage]) -> str:
    return f"{len(passages)} passage{'' if len(passages) == 1 else 's'}"
