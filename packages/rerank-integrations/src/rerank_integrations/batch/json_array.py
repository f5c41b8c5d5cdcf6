"""JSON files with one array of objects. The scores are written as JSON lines, which need not be read whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rerank_core.tables.encodings import decode
from rerank_core.tables.json_rows import read_json_array

from rerank_integrations.batch.gzipped import is_gzipped, open_bytes, write_bytes
from rerank_integrations.batch.job import Job, Kind
from rerank_integrations.batch.jsonl import Lines, LineWriter


@dataclass(frozen=True, slots=True)
class Items(Lines):
    """Objects of an array, each as the line that is written of it."""

    def place(self, index: int) -> str:
        """See ``Rows``."""
        return f"item {self.numbers[index]}"


@dataclass(frozen=True, slots=True)
class JsonArray:
    """A ``Source`` of the objects of an array. The whole file is held in memory."""

    path: Path

    @property
    def description(self) -> str:
        """See ``Source``."""
        return "a JSON array"

    def check(self, job: Job) -> None:
        """Check nothing: the file is read only once."""

    def count(self) -> int | None:
        """Return None: not known before the file is read."""
        return None

    def chunks(self, size: int) -> Iterator[Items]:
        """See ``Source``."""
        with open_bytes(self.path) as file:
            content = decode(file.read(), str(self.path))
        values = [value for _, value in read_json_array(content, str(self.path))]
        for start in range(0, len(values), size):
            part = values[start : start + size]
            yield Items(
                [_line(value) for value in part],
                list(range(start + 1, start + 1 + len(part))),
                [value if isinstance(value, dict) else None for value in part],
            )

    @contextmanager
    def writer(self, path: Path, added: Mapping[str, Kind]) -> Iterator[LineWriter]:
        """See ``Source``."""
        with write_bytes(path, gzipped=is_gzipped(self.path)) as file:
            yield LineWriter(file, self.path)


def _line(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can write
        return json.dumps(value).encode()
