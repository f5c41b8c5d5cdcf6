"""Rows to scores, by whatever scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rerank_core.errors import InvalidRequest
from rerank_core.scorer import Scorer
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_integrations.batch.job import Job
from rerank_integrations.batch.rows import Rows, validation_error
from rerank_integrations.threads import map_in_threads

_AT_ONCE = 8  # queries that are asked of servers at the same time


@runtime_checkable
class PairScorer(Protocol):
    """Scores pairs of different queries together, as a model in this process does."""

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        """One score per pair, in their order."""
        ...


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
    scores, keys = score_pairs(scorer, pairs, job.options)
    for index, value, key in zip(scored, scores, keys, strict=True):
        found.values[index], found.keys[index] = value, key
    return found


def score_pairs(
    scorer: Scorer, pairs: Sequence[Pair], options: ScoreOptions
) -> tuple[Sequence[float], Sequence[float]]:
    """One score per pair, in their order, and what orders them: all together where the scorer can, else by query."""
    if isinstance(scorer, PairScorer):
        scores = scorer.score_pairs(pairs, options)
        return scores.values, scores.values if scores.raw_values is None else scores.raw_values
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.query, []).append(place)

    def ask(query: str) -> Scores:
        return scorer.score(query, [pairs[place].document for place in places[query]], options=options)

    # A server batches what comes at the same time.
    answers = dict(zip(places, map_in_threads(ask, list(places), _AT_ONCE), strict=True))
    values, raw_values = [0.0] * len(pairs), [0.0] * len(pairs)
    for query, answer in answers.items():
        for place, value, raw in zip(places[query], answer.values, answer.raw_values or answer.values, strict=True):
            values[place], raw_values[place] = value, raw
    knows_raw = all(answer.raw_values is not None for answer in answers.values())
    return values, raw_values if knows_raw else values
