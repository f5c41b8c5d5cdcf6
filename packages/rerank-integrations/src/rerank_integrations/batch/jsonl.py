"""JSON lines, plain or gzipped. A line is written again to the byte, with its score at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, Self

from rerank_core.errors import InvalidRequest

from rerank_integrations.batch.gzipped import is_gzipped, open_bytes, write_bytes
from rerank_integrations.batch.job import Job, Kind
from rerank_integrations.batch.rows import Added

_BOM = b"\xef\xbb\xbf"
_MAX_BYTES = 32 << 20  # of lines held at once, however few they are


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines, their numbers in the file from 1, and the object that each holds; None for a line that holds none."""

    texts: list[bytes]
    numbers: list[int]
    records: list[dict[str, Any] | None]

    def __len__(self) -> int:
        return len(self.texts)

    def values(self, column: str) -> Sequence[object]:
        """See ``Rows``."""
        return [record.get(column) if record else None for record in self.records]

    def place(self, index: int) -> str:
        """See ``Rows``."""
        return f"line {self.numbers[index]}"

    def row_error(self, index: int) -> str | None:
        """See ``Rows``."""
        return "is not a JSON object" if self.records[index] is None else None

    def part(self, start: int, stop: int) -> Self:
        """See ``Rows``."""
        return type(self)(self.texts[start:stop], self.numbers[start:stop], self.records[start:stop])

    def plus(self, others: Self) -> Self:
        """See ``Rows``."""
        return type(self)(self.texts + others.texts, self.numbers + others.numbers, self.records + others.records)


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A ``Source`` of one JSON object a line; blank lines are passed over."""

    path: Path

    @property
    def description(self) -> str:
        """See ``Source``."""
        return "JSON lines"

    def check(self, job: Job) -> None:
        """Check nothing: nothing is known before the lines are read."""

    def count(self) -> int | None:
        """Return None: not known before the lines are read."""
        return None

    def chunks(self, size: int) -> Iterator[Lines]:
        """See ``Source``."""
        chunk, held = Lines([], [], []), 0
        for number, line in self._lines():
            if len(chunk) == size or (held + len(line) > _MAX_BYTES and len(chunk)):
                yield chunk
                chunk, held = Lines([], [], []), 0
            held += len(line)
            chunk.texts.append(line)
            chunk.numbers.append(number)
            chunk.records.append(_record(line))
        if len(chunk):
            yield chunk

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with open_bytes(self.path) as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(_BOM if number == 1 else b"").strip()
                if text:
                    yield number, text

    @contextmanager
    def writer(self, path: Path, added: Mapping[str, Kind]) -> Iterator[LineWriter]:
        """See ``Source``."""
        with write_bytes(path, gzipped=is_gzipped(self.path)) as file:
            yield LineWriter(file, self.path)


class LineWriter:
    """A ``Writer`` of JSON lines."""

    def __init__(self, file: IO[bytes] | GzipFile, source: Path) -> None:
        self._file = file
        self._source = source

    def write(self, rows: Lines, order: Sequence[int], added: Added) -> None:
        """See ``Writer``. Raises ``InvalidRequest`` for a line that has a column of this name already."""
        for place, index in enumerate(order):
            record = rows.records[index]
            for name in added:
                if record is not None and name in record:
                    raise InvalidRequest(f"{self._source}, {rows.place(index)} has a {name!r} already")
            more = json.dumps({name: values[place] for name, values in added.items()}).encode()[1:]
            start = rows.texts[index][:-1].rstrip() + b", " if record else b"{"
            self._file.write(start + more + b"\n")


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
