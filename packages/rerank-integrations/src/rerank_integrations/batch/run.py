"""Scores one file, or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from rerank_core.atomic_write import atomic_write
from rerank_core.errors import MissingExtra, RerankError
from rerank_core.scorer import Scorer, is_independent

from rerank_integrations.batch.files import Task, by_ending, count_rows, list_tasks, open_source
from rerank_integrations.batch.groups import ranked, whole_groups
from rerank_integrations.batch.job import RANK, Job
from rerank_integrations.batch.run_manifest import Identity, identify, open_run
from rerank_integrations.batch.scoring import RowScores, score_rows

Advance: TypeAlias = Callable[[int], object]
"""Told of so many rows more that have been scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The outcome of a file: its rows, and how many of them have no score."""

    rows: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The outcome of a run: files and rows that it scored, rows without a score, and files that were done before.

    ``seconds`` of the wall, with loading the model.
    """

    files: int
    rows: int
    skipped: int
    done_before: int
    seconds: float

    def __str__(self) -> str:
        before = f", {self.done_before} files were done before" if self.done_before else ""
        return (
            f"{self.rows:,} rows of {self.files} files, {self.skipped:,} of them without a score, in "
            f"{self.seconds:.1f} s ({self.rows / max(self.seconds, 1e-9):,.0f} rows/s){before}"
        )


Run: TypeAlias = Callable[[Sequence[Task], Job, Scorer, Advance], Iterator[Done]]
"""Scores files, and tells of each one that is done."""


def score_file(task: Task, job: Job, scorer: Scorer, advance: Advance = lambda _: None) -> Done:
    """Score one file, which appears when all of it is there. Memory is bounded by a chunk, or the rows of one query.

    Raises ``InvalidRequest`` naming the file and the row where it cannot be read or scored, and what the scorer raises.
    """
    source = open_source(task.source)
    source.check(job)
    total = skipped = 0
    try:
        with (
            atomic_write(task.target, remove_leftovers=True) as part,
            source.writer(part, job.added) as writer,
        ):
            chunks = source.chunks(job.chunk_rows)
            whole = job.rerank or not is_independent(scorer)
            parts = whole_groups(chunks, job.group_column) if whole else ((rows, None) for rows in chunks)
            for rows, groups in parts:
                scores = score_rows(rows, scorer, job)
                order, added = _output(scores, groups if job.rerank else None, job)
                writer.write(rows, order, added)
                total += len(rows)
                skipped += sum(score is None for score in scores.values)
                advance(len(rows))
    except RerankError as error:
        if str(task.source) in str(error):
            raise
        raise type(error)(f"{task.source}, {error}") from error
    return Done(rows=total, skipped=skipped)


def _output(
    scores: RowScores, groups: list[range] | None, job: Job
) -> tuple[Sequence[int], dict[str, Sequence[float | int | None]]]:
    """Return the rows to write, in their order, and the columns that they get."""
    if groups is None:
        return range(len(scores.values)), {job.score: scores.values}
    order: list[int] = []
    ranks: list[int | None] = []
    for group in groups:
        best = ranked(scores.keys, group, job.top_n)
        order += best
        ranks += [None if scores.values[index] is None else place for place, index in enumerate(best, start=1)]
    return order, {job.score: [scores.values[index] for index in order], RANK: ranks}


def in_this_process(tasks: Sequence[Task], job: Job, scorer: Scorer, advance: Advance) -> Iterator[Done]:
    """Score files as a ``Run``: one after the other."""
    for task in tasks:
        yield score_file(task, job, scorer, advance)


def score_files(
    source: str | Path,
    target: str | Path,
    scorer: Scorer,
    job: Job | None = None,
    *,
    run: Run = in_this_process,
    identified: Callable[[Scorer], Identity] = identify,
    progress: bool = False,
) -> Summary:
    """Score every file of ``source`` that is not done yet, a file in ``target`` for each.

    ``source`` is a file or a folder of ``.parquet``, ``.jsonl`` and ``.jsonl.gz`` files, ``target`` a folder. A file
    of ``target`` is whole or not there; one that is there and is not older than its input is done, so that a run that
    was stopped goes on where it was when it is started again. ``progress`` shows a bar on standard error, if that is a
    terminal. ``run`` says who scores the files, and ``identified`` with which model.

    Raises ``InvalidRequest`` for input that cannot be scored and for a ``target`` of another model or job, what the
    scorer raises, and ``OSError`` where a file cannot be read or written.
    """
    began = time.monotonic()
    job = job or Job()
    tasks = list_tasks(Path(source), Path(target))
    waiting = [task for task in tasks if not task.is_done]
    for own in by_ending(waiting):  # before a model is loaded for nothing
        open_source(own[0].source).check(job)
    open_run(Path(target).absolute(), identified(scorer), job)
    rows = skipped = 0
    with closing(_bar(waiting, progress=progress)) as bar:
        for done in run(waiting, job, scorer, bar.update):
            rows += done.rows
            skipped += done.skipped
    return Summary(
        files=len(waiting),
        rows=rows,
        skipped=skipped,
        done_before=len(tasks) - len(waiting),
        seconds=time.monotonic() - began,
    )


class _NoBar:
    def update(self, rows: int) -> None:
        pass

    def close(self) -> None:
        pass


def _bar(tasks: Sequence[Task], *, progress: bool) -> Any:
    if not progress:
        return _NoBar()
    try:
        tqdm = import_module("tqdm")
    except ModuleNotFoundError as missing:
        if missing.name != "tqdm":
            raise
        raise MissingExtra.needs("progress needs tqdm", "rerank-integrations[batch]") from missing
    total = count_rows([task.source for task in tasks])
    return tqdm.tqdm(total=total, unit=" rows", unit_scale=True, disable=None, desc=f"{len(tasks)} files")
