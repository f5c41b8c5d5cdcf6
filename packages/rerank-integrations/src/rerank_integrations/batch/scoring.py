"""Scores rows with any scorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rerank_core.errors import InvalidRequest
from rerank_core.pairs import score_pairs
from rerank_core.scorer import Scorer
from rerank_core.types import Pair, Scores

from rerank_integrations.batch.job import Job
from rerank_integrations.batch.rows import Rows, validation_error
from rerank_integrations.threads import map_in_threads

_AT_ONCE = 8  # queries


@dataclass(frozen=True, slots=True)
class RowScores:
    """One score per row, in their order; None for a row that could not be scored.

    ``keys`` decide the order of rows: raw scores where known, which differ where ``values`` have all become 1.0.
    """

    values: list[float | None]
    keys: list[float | None]


def score_rows(rows: Rows, scorer: Scorer, job: Job) -> RowScores:
    """Score each row; a row that cannot be scored has no score, where the job skips those.

    Raises ``InvalidRequest`` with the row's place where it does not, and what the scorer raises.
    """
    columns = {name: rows.values(name) for name in job.read}
    scored: list[int] = []
    pairs: list[Pair] = []
    for index in range(len(rows)):
        values = {name: column[index] for name, column in columns.items()}
        wrong = rows.row_error(index) or validation_error(values, job)
        if wrong is None:
            scored.append(index)
            pairs.append(Pair(str(values[job.columns.query]), str(values[job.columns.document])))
        elif job.on_error == "fail":
            raise InvalidRequest(f"{rows.place(index)} {wrong}")
    found = RowScores([None] * len(rows), [None] * len(rows))
    if not pairs:
        return found
    scores = score_pairs(scorer, pairs, job.options, map_queries=ask_at_once)
    for index, value, key in zip(scored, scores.values, scores.raw_values or scores.values, strict=True):
        found.values[index], found.keys[index] = value, key
    return found


def ask_at_once(score: Callable[[str], Scores], queries: Sequence[str]) -> list[Scores]:
    """Score several queries at the same time: a server batches them. See ``rerank_core.pairs.MapQueries``."""
    return map_in_threads(score, queries, _AT_ONCE)
