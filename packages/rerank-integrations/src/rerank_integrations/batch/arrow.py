"""Arrow files, of which a folder of ``datasets`` is made. The rows and their scores are written as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core.tables.arrow import open_arrow

from rerank_integrations.batch.job import Job, Kind
from rerank_integrations.batch.parquet import Table, TableWriter, check_schema, pyarrow, table_writer


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """A ``Source`` of the rows of an Arrow file."""

    path: Path

    @property
    def description(self) -> str:
        """See ``Source``."""
        return "Arrow"

    def check(self, job: Job) -> None:
        """See ``Source``."""
        check_schema(self.path, self._schema(), job)

    def count(self) -> int | None:
        """Return None: a stream does not tell before it is read."""
        return None

    def chunks(self, size: int) -> Iterator[Table]:
        """See ``Source``."""
        first = 1
        with open_arrow(self.path, str(self.path)) as (_, batches):
            for batch in batches:
                for start in range(0, batch.num_rows, size):
                    part = batch.slice(start, size)
                    yield Table(pyarrow().Table.from_batches([part]), first)
                    first += part.num_rows

    @contextmanager
    def writer(self, path: Path, added: Mapping[str, Kind]) -> Iterator[TableWriter]:
        """See ``Source``."""
        with table_writer(path, self._schema(), added) as writer:
            yield writer

    def _schema(self) -> Any:
        pyarrow()  # names the extra of this package, where it is not installed
        with open_arrow(self.path, str(self.path)) as (schema, _):
            return schema
