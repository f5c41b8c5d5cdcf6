"""Rows to scores, by whatever scores."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from rerank_core.errors import InvalidRequest
from rerank_core.scorer import Scorer
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_integrations.batch.job import Job
from rerank_integrations.batch.rows import Rows, problem

_AT_ONCE = 8  # queries that are asked of servers at the same time


@runtime_checkable
class PairScorer(Protocol):
    """Scores pairs of different queries together, as a model in this process does."""

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        """One score per pair, in their order."""
        ...


def score_rows(rows: Rows, scorer: Scorer, job: Job) -> list[float | None]:
    """One score per row, in their order; None for a row that cannot be scored, where the job skips those.

    Raises ``InvalidRequest`` with the row's place where it does not, and what the scorer raises.
    """
    columns = {name: rows.values(name) for name in job.read}
    scored: list[int] = []
    pairs: list[Pair] = []
    for index in range(len(rows)):
        values = {name: column[index] for name, column in columns.items()}
        wrong = rows.flaw(index) or problem(values, job)
        if wrong is None:
            scored.append(index)
            pairs.append(Pair(str(values[job.columns.query]), str(values[job.columns.document])))
        elif job.on_error == "fail":
            raise InvalidRequest(f"{rows.place(index)} {wrong}")
    scores: list[float | None] = [None] * len(rows)
    for index, value in zip(scored, score_pairs(scorer, pairs, job.options), strict=True):
        scores[index] = value
    return scores


def score_pairs(scorer: Scorer, pairs: Sequence[Pair], options: ScoreOptions) -> Sequence[float]:
    """One score per pair, in their order: all of them together where the scorer can, else query by query."""
    if isinstance(scorer, PairScorer):
        return scorer.score_pairs(pairs, options).values
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.query, []).append(place)

    def ask(query: str) -> Scores:
        return scorer.score(query, [pairs[place].document for place in places[query]], options=options)

    values = [0.0] * len(pairs)
    # A server batches what comes at the same time.
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for query, scores in zip(places, threads.map(ask, places), strict=True):
            for place, value in zip(places[query], scores.values, strict=True):
                values[place] = value
    return values
