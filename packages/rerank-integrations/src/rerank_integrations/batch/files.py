"""The files of a run: which there are, and which of them are done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequest

from rerank_integrations.batch.jsonl import JsonLines
from rerank_integrations.batch.parquet import ParquetFile
from rerank_integrations.batch.rows import Source

_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Task:
    """One file to score, and where its scores go. Both paths are absolute."""

    source: Path
    target: Path

    @property
    def is_done(self) -> bool:
        """Whether its scores are there, and are not older than what they were made of."""
        with suppress(FileNotFoundError):
            return self.target.stat().st_mtime_ns >= self.source.stat().st_mtime_ns
        return False


def list_tasks(source: Path, target: Path) -> list[Task]:
    """List a task for every file of ``source``, which is a file or a folder, by name; hidden files are passed over.

    The files below a folder come to stand below ``target`` under the same names. Raises ``InvalidRequest`` where there
    is nothing to score, or ``target`` lies where its files would be read again.
    """
    source, target = source.absolute(), target.absolute()
    if source.is_file():
        if not source.name.endswith(_SUFFIXES):
            raise InvalidRequest(f"{source} is none of {', '.join(_SUFFIXES)}")
        if target.resolve() == source.parent.resolve():
            raise InvalidRequest(f"{target} is where the input lies: use another folder")
        return [Task(source, target / source.name)]
    if not source.is_dir():
        raise InvalidRequest(f"{source} is not there")
    if target.resolve().is_relative_to(source.resolve()):
        raise InvalidRequest(f"{target} lies in {source}, and would be read again: use a folder outside")
    tasks = [Task(path, target / path.relative_to(source)) for path in data_files(source)]
    if not tasks:
        raise InvalidRequest(f"{source} holds no file that ends with {', '.join(_SUFFIXES)}")
    return tasks


def data_files(folder: Path) -> list[Path]:
    """List the files with rows below a folder, by name. What begins with ``.`` or ``_`` is not one."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(_SUFFIXES)
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def open_source(path: Path) -> Source:
    """Open a file by its name's end, one of those that ``list_tasks`` knows."""
    return ParquetFile(path) if path.suffix == ".parquet" else JsonLines(path)


def count_rows(paths: Sequence[Path]) -> int | None:
    """Count the rows of all files; None where one of them does not tell at once."""
    total = 0
    for path in paths:
        count = open_source(path).count()
        if count is None:
            return None
        total += count
    return total
