"""Reads the texts of a collection, documents or queries, by their ids, from a table in any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequest
from rerank_core.tables.columns import PASSAGE_NAMES, choose_column
from rerank_core.tables.table import Table, read_table

ID_NAMES = ("_id", "id", "docid", "doc_id", "docno", "pid", "qid", "query_id", "query-id", "topic")
DOCUMENT_NAMES = PASSAGE_NAMES
QUERY_NAMES = ("text", "query", "question", "title")
_TITLE = "title"


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by id, in the order of their file, and what that was read as."""

    by_id: dict[str, str]
    description: str


def read_texts(path: Path, names: Sequence[str]) -> Texts:
    """Read texts from the column with one of the usual ``names``; the column ``title``, if another, goes before them.

    A TSV of two columns without a header, as in TREC and MS MARCO, holds ids and texts. Raises ``InvalidRequest``.
    """
    table = read_table(path)
    if not table.rows and not table.columns:
        raise InvalidRequest(f"{path.name} is empty: it needs an id and a text in each row")
    if _lacks_header(table):
        table = read_table(path, header=False)
        identity, text = table.columns
    elif table.plain_unit:
        raise InvalidRequest(f"{path.name} is {table.description} without ids: it needs an id and a text in each row")
    else:
        identity = _choose(table, ID_NAMES, path.name)
        text = _choose(table, names, path.name)
    title = _TITLE if _TITLE in table.columns and text != _TITLE else None
    texts: dict[str, str] = {}
    for row in table.rows:
        key = table.identity(row, identity)
        if key in texts:
            raise InvalidRequest(f"{path.name}, {row.place}: the id {key!r} is there twice: ids must be different")
        parts = [table.text(row, column) for column in (title, text) if column and row.values.get(column)]
        texts[key] = " ".join(parts).strip() if parts else table.text(row, text)
    if not texts:
        raise InvalidRequest(f"{path.name} is empty: it needs an id and a text in each row")
    columns = " and ".join(repr(column) for column in (title, text) if column)
    return Texts(texts, f"{path.name} ({table.description}; id {identity!r}, text {columns})")


def _choose(table: Table, names: Sequence[str], name: str) -> str:
    way_out = f"call the column {', '.join(names[:3])} or {names[3]}"
    return choose_column(table.columns, None, names, name=name, way_out=way_out)


def _lacks_header(table: Table) -> bool:
    names = {column.strip().lower() for column in table.columns}
    is_tsv = table.layout is not None and table.layout.separator == "\t"
    return is_tsv and len(names) == 2 and not names.intersection(ID_NAMES)
