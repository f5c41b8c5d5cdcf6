"""The files of a run: which there are, and which of them are done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rerank_core.errors import InvalidRequest
from rerank_core.tables.arrow import DESCRIPTIONS, dataset_files
from rerank_core.tables.formats import is_json_array

from rerank_integrations.batch.arrow import ArrowFile
from rerank_integrations.batch.delimited import DelimitedFile
from rerank_integrations.batch.gzipped import open_bytes
from rerank_integrations.batch.job import Job
from rerank_integrations.batch.json_array import JsonArray
from rerank_integrations.batch.jsonl import JsonLines
from rerank_integrations.batch.parquet import ParquetFile
from rerank_integrations.batch.rows import Source

_HEAD = 1 << 16  # bytes that a JSON file is recognised by
_TEXT = (".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".json")
_SUFFIXES = (".parquet", ".arrow", *_TEXT, *(f"{suffix}.gz" for suffix in _TEXT))
_BY_LENGTH = sorted(_SUFFIXES, key=len, reverse=True)
# What is written in another form than it was read, as that could not be written row by row.
_WRITTEN_AS = {".json": ".jsonl", ".json.gz": ".jsonl.gz", ".arrow": ".parquet"}


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

    The files below a folder come to stand below ``target`` under the same names; the scores of a JSON array are JSON
    lines, and those of an Arrow file Parquet. Raises ``InvalidRequest`` where there
    is nothing to score, or ``target`` lies where its files would be read again.
    """
    source, target = source.absolute(), target.absolute()
    if source.is_file():
        if not source.name.endswith(_SUFFIXES):
            raise InvalidRequest(f"{source} is none of {', '.join(_SUFFIXES)}")
        if target.resolve() == source.parent.resolve():
            raise InvalidRequest(f"{target} is where the input lies: use another folder")
        return [Task(source, target / _written_name(source))]
    if not source.is_dir():
        raise InvalidRequest(f"{source} is not there")
    if target.resolve().is_relative_to(source.resolve()):
        raise InvalidRequest(f"{target} lies in {source}, and would be read again: use a folder outside")
    tasks = [
        Task(path, target / path.relative_to(source).with_name(_written_name(path))) for path in data_files(source)
    ]
    if not tasks:
        raise InvalidRequest(f"{source} holds no file that ends with {', '.join(_SUFFIXES)}")
    sources: dict[Path, Path] = {}
    for task in tasks:
        if (other := sources.setdefault(task.target, task.source)) != task.source:
            raise InvalidRequest(
                f"{other} and {task.source} would both be written to {task.target.name}: put them into two folders"
            )
    return tasks


def data_files(folder: Path) -> list[Path]:
    """List the files with rows below a folder, by name. What begins with ``.`` or ``_`` is not one.

    Nor is what ``datasets`` puts beside its data: descriptions, and caches.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(_SUFFIXES)
        and path.name not in DESCRIPTIONS
        and not _is_cache(path)
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _is_cache(path: Path) -> bool:
    """Tell whether an Arrow file lies in a folder of ``datasets`` and is none of its data."""
    return path.suffix == ".arrow" and path not in (dataset_files(path.parent) or [path])


def open_source(path: Path) -> Source:
    """Open a file by its name's end, one of those that ``list_tasks`` knows, and a JSON file by its beginning."""
    match Path(path.name.removesuffix(".gz")).suffix:
        case ".parquet":
            return ParquetFile(path)
        case ".arrow":
            return ArrowFile(path)
        case ".csv" | ".tsv" | ".tab":
            return DelimitedFile(path)
        case _:
            with open_bytes(path) as file:
                head = file.read(_HEAD)
            return JsonArray(path) if is_json_array(head) else JsonLines(path)


def by_ending(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group tasks by the end of their files' names. Of a group one file is looked at: there may be thousands."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        ending = next(suffix for suffix in _BY_LENGTH if task.source.name.endswith(suffix))
        groups.setdefault(ending, []).append(task)
    return list(groups.values())


def describe(tasks: Sequence[Task], job: Job) -> str:
    """Describe what files are read as, and from which columns."""
    kinds = [
        f"{len(own)} {'file' if len(own) == 1 else 'files'} ({open_source(own[0].source).description})"
        for own in by_ending(tasks)
    ]
    return (
        f"{', '.join(kinds)}: id from {job.columns.id!r}, query from {job.columns.query!r}, document from "
        f"{job.columns.document!r}"
    )


def _written_name(source: Path) -> str:
    for suffix, written in _WRITTEN_AS.items():
        if source.name.endswith(suffix):
            return source.name.removesuffix(suffix) + written
    return source.name


def count_rows(paths: Sequence[Path]) -> int | None:
    """Count the rows of all files; None where one of them does not tell at once."""
    total = 0
    for path in paths:
        count = open_source(path).count()
        if count is None:
            return None
        total += count
    return total
