"""CSV and TSV files. They are written again with the same separator, encoding and line ends, the scores at the end."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Self, TextIO, cast

from rerank_core.errors import InvalidRequest
from rerank_core.tables.delimited import Layout, find_layout, name_columns, read_rows
from rerank_core.tables.encodings import decode_head, encoding_of, wrong_encoding

from rerank_integrations.batch.gzipped import is_gzipped, open_bytes, write_bytes
from rerank_integrations.batch.job import Job, Kind
from rerank_integrations.batch.rows import Added, check_columns

_HEAD = 1 << 20  # bytes that the layout is found by


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows of cells, and the numbers of their first lines in the file, from 1."""

    columns: tuple[str, ...]
    cells: list[list[str]]
    numbers: list[int]

    def __len__(self) -> int:
        return len(self.cells)

    def values(self, column: str) -> Sequence[object]:
        """See ``Rows``; an empty cell is a missing value."""
        place = self.columns.index(column)
        return [row[place] or None for row in self.cells]

    def place(self, index: int) -> str:
        """See ``Rows``."""
        return f"line {self.numbers[index]}"

    def row_error(self, index: int) -> str | None:
        """See ``Rows``: a row of a table is one."""
        return None

    def part(self, start: int, stop: int) -> Self:
        """See ``Rows``."""
        return type(self)(self.columns, self.cells[start:stop], self.numbers[start:stop])

    def plus(self, others: Self) -> Self:
        """See ``Rows``."""
        return type(self)(self.columns, self.cells + others.cells, self.numbers + others.numbers)


@dataclass(frozen=True, slots=True)
class DelimitedFile:
    """A ``Source`` of the rows of a CSV or TSV file, whose first line has the names of the columns."""

    path: Path

    @property
    def description(self) -> str:
        """See ``Source``."""
        return str(self._form()[0])

    def check(self, job: Job) -> None:
        """See ``Source``."""
        with self._rows() as (header, _):
            check_columns(self.path, name_columns(header, str(self.path)), job)

    def count(self) -> int | None:
        """Return None: not known before the rows are read."""
        return None

    def chunks(self, size: int) -> Iterator[Cells]:
        """See ``Source``."""
        with self._rows() as (header, rows):
            columns = name_columns(header, str(self.path))
            while chunk := list(islice(rows, size)):
                yield Cells(columns, [cells for _, cells in chunk], [number for number, _ in chunk])

    @contextmanager
    def writer(self, path: Path, added: Mapping[str, Kind]) -> Iterator[_CellWriter]:
        """See ``Source``."""
        layout, encoding = self._form()
        with self._rows() as (header, _):
            names = [*header, *added]
        with (
            write_bytes(path, gzipped=is_gzipped(self.path)) as file,
            TextIOWrapper(cast("IO[bytes]", file), encoding=encoding, newline="") as text,
        ):
            yield _CellWriter(text, layout, names)

    def _form(self) -> tuple[Layout, str]:
        """Return the layout and the encoding, by the beginning of the file."""
        with open_bytes(self.path) as file:
            head = file.read(_HEAD)
        suffix = Path(self.path.name.removesuffix(".gz")).suffix
        text = decode_head(head).removeprefix("\ufeff")
        return find_layout(text, is_tsv=suffix in (".tsv", ".tab"), is_whole=len(head) < _HEAD), encoding_of(head)

    @contextmanager
    def _rows(self) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
        layout, encoding = self._form()
        try:
            with (
                open_bytes(self.path) as file,
                TextIOWrapper(cast("IO[bytes]", file), encoding=encoding, newline="") as text,
            ):
                rows = read_rows(text, layout, str(self.path))
                first = next(rows, None)
                if first is None:
                    raise InvalidRequest(f"{self.path} is empty: its first line must have the names of the columns")
                yield first[1], rows
        except UnicodeDecodeError as error:
            raise wrong_encoding(f"{self.path} is not {error.encoding.upper()}") from None


class _CellWriter:
    def __init__(self, file: TextIO, layout: Layout, header: Sequence[str]) -> None:
        if layout.skipped:
            file.write(f"sep={layout.separator}{layout.line_end}")
        self._writer = csv.writer(
            file,
            delimiter=layout.separator,
            lineterminator=layout.line_end,
            quoting=csv.QUOTE_MINIMAL if layout.quotes else csv.QUOTE_NONE,
            quotechar='"' if layout.quotes else None,
        )
        self._writer.writerow(header)

    def write(self, rows: Cells, order: Sequence[int], added: Added) -> None:
        """See ``Writer``; a missing score is an empty cell."""
        for place, index in enumerate(order):
            self._writer.writerow([*rows.cells[index], *(values[place] for values in added.values())])
