"""Parquet files. All columns are kept with their types; the scores come last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from rerank_core.errors import InvalidRequest
from rerank_core.tables.arrow import import_pyarrow

from rerank_integrations.batch.job import Job, Kind
from rerank_integrations.batch.rows import Added, check_columns

# A row group is written when it has so many of either: small ones read slowly, large ones stay in memory.
_GROUP_ROWS = 1 << 16
_GROUP_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A ``pyarrow.Table`` of rows, and the first one's number in the file, from 1."""

    table: Any
    first: int

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def values(self, column: str) -> Sequence[object]:
        """See ``Rows``; text that is not UTF-8 comes as bytes."""
        found = self.table.column(column)
        try:
            values: list[object] = found.to_pylist()
        except UnicodeDecodeError:
            return [_text(value) for value in found.cast(pyarrow().large_binary()).to_pylist()]
        return values

    def place(self, index: int) -> str:
        """See ``Rows``."""
        return f"row {self.first + index}"

    def row_error(self, index: int) -> str | None:
        """See ``Rows``: a row of a table is one."""
        return None

    def part(self, start: int, stop: int) -> Self:
        """See ``Rows``."""
        return type(self)(self.table.slice(start, stop - start), self.first + start)

    def plus(self, others: Self) -> Self:
        """See ``Rows``."""
        return type(self)(pyarrow().concat_tables([self.table, others.table]), self.first)


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A ``Source`` of the rows of a Parquet file."""

    path: Path

    @property
    def description(self) -> str:
        """See ``Source``."""
        return "Parquet"

    def check(self, job: Job) -> None:
        """See ``Source``."""
        with self._opened() as file:
            schema = file.schema_arrow
        check_schema(self.path, schema, job)

    def count(self) -> int | None:
        """See ``Source``: the file knows its number of rows."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def chunks(self, size: int) -> Iterator[Table]:
        """See ``Source``."""
        first = 1
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=size):
                yield Table(pyarrow().Table.from_batches([batch]), first)
                first += batch.num_rows

    @contextmanager
    def writer(self, path: Path, added: Mapping[str, Kind]) -> Iterator[TableWriter]:
        """See ``Source``."""
        with self._opened() as file:
            schema = file.schema_arrow
        with table_writer(path, schema, added) as writer:
            yield writer

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        arrow = pyarrow()
        try:
            with import_module("pyarrow.parquet").ParquetFile(self.path) as file:
                yield file
        except arrow.ArrowException as error:
            raise InvalidRequest(f"{self.path} cannot be read as Parquet: {error}") from error


def check_schema(path: Path, schema: Any, job: Job) -> None:
    """Raise ``InvalidRequest`` for columns that a job cannot read or add."""
    check_columns(path, schema.names, job)
    for name in (job.columns.query, job.columns.document):
        if not _is_text(schema.field(name).type):
            raise InvalidRequest(f"{path}: column {name!r} is {schema.field(name).type}, not text")


@contextmanager
def table_writer(path: Path, schema: Any, added: Mapping[str, Kind]) -> Iterator[TableWriter]:
    """Open a Parquet file for the rows of a schema, with columns added."""
    arrow, types = pyarrow(), {"score": "float64", "rank": "int32"}
    for name, kind in added.items():
        schema = schema.append(arrow.field(name, arrow.type_for_alias(types[kind])))
    with import_module("pyarrow.parquet").ParquetWriter(path, schema) as file:
        writer = TableWriter(file, schema)
        yield writer
        writer.flush()


class TableWriter:
    """A ``Writer`` of row groups."""

    def __init__(self, file: Any, schema: Any) -> None:
        self._file = file
        self._schema = schema
        self._waiting: list[Any] = []

    def write(self, rows: Table, order: Sequence[int], added: Added) -> None:
        """See ``Writer``."""
        arrow = pyarrow()
        table = rows.table if order == range(len(rows)) else rows.table.take(arrow.array(order, arrow.int64()))
        for name, values in added.items():
            field = self._schema.field(name)
            table = table.append_column(field, arrow.array(values, field.type))
        self._waiting.append(table)
        if (
            sum(waiting.num_rows for waiting in self._waiting) >= _GROUP_ROWS
            or sum(waiting.nbytes for waiting in self._waiting) >= _GROUP_BYTES
        ):
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a row group."""
        if self._waiting:
            table = pyarrow().concat_tables(self._waiting)
            self._file.write_table(table.cast(self._schema), row_group_size=max(1, table.num_rows))
            self._waiting.clear()


def pyarrow() -> Any:
    """Import pyarrow. Raises ``MissingExtra`` naming this package's extra where it is not installed."""
    return import_pyarrow("rerank-integrations[batch]")


def _is_text(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind)
    )


def _text(value: bytes | None) -> object:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
