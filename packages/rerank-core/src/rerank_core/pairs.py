"""Pairs whose queries may differ: scored together where the scorer can, else query by query."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol, TypeAlias, runtime_checkable

from rerank_core.inputs import as_pair_list
from rerank_core.scorer import Scorer
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, Usage

MapQueries: TypeAlias = Callable[[Callable[[str], Scores], Sequence[str]], Iterable[Scores]]
"""As ``map``: one result per query, in their order."""

Encode: TypeAlias = Callable[[str, Sequence[str], ScoreOptions, int], list[Encoding]]
"""See ``StepwiseModel.encode``."""


@runtime_checkable
class PairScorer(Protocol):
    """Scores pairs of different queries together, as a model in this process does."""

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        """Return one score per pair, in their order."""
        ...


def score_pairs(
    scorer: Scorer,
    pairs: Iterable[Sequence[str]],
    options: ScoreOptions | None = None,
    *,
    map_queries: MapQueries = map,
) -> Scores:
    """Score pairs, each a query and a document: one score per pair, in their order.

    A scorer with a method ``score_pairs`` gets all of them at once. Any other is called once per distinct query;
    ``map_queries`` may make these calls at the same time. ``model`` is that of the first call.

    Raises ``InvalidRequest`` for what is no pair of texts, and what the scorer raises.
    """
    known = as_pair_list(pairs)
    if isinstance(scorer, PairScorer):
        return scorer.score_pairs(known, options)
    return score_by_query(scorer, known, options, map_queries=map_queries)


def score_by_query(
    scorer: Scorer, pairs: Sequence[Pair], options: ScoreOptions | None = None, *, map_queries: MapQueries = map
) -> Scores:
    """Score pairs as ``score_pairs``, with one call of ``scorer.score`` per distinct query."""
    positions = positions_by_query(pairs)
    if not positions:
        return scorer.score("", [], options=options)

    def score(query: str) -> Scores:
        return scorer.score(query, [pairs[position].document for position in positions[query]], options=options)

    answers = list(map_queries(score, list(positions)))
    raw_values = [raw for answer in answers for raw in answer.raw_values or ()]
    spans = [span for answer in answers for span in answer.spans or [None] * len(answer.values)]
    joined = Scores(
        values=tuple(value for answer in answers for value in answer.values),
        raw_values=tuple(raw_values) if len(raw_values) == len(pairs) else None,
        spans=tuple(spans) if any(spans) else None,
        model=answers[0].model,
        usage=Usage(
            pairs=sum(answer.usage.pairs for answer in answers),
            tokens=sum(answer.usage.tokens for answer in answers),
            truncated=sum(answer.usage.truncated for answer in answers),
        ),
    )
    return reordered(joined, [position for own in positions.values() for position in own])


def positions_by_query(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Find the positions of each query's pairs, in the order in which queries first occur."""
    positions: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        positions.setdefault(pair.query, []).append(position)
    return positions


def reordered(scores: Scores, positions: Sequence[int]) -> Scores:
    """Put scores into another order: each goes to its position."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    raw_values, spans = scores.raw_values, scores.spans
    return replace(
        scores,
        values=tuple(scores.values[place] for place in order),
        raw_values=None if raw_values is None else tuple(raw_values[place] for place in order),
        spans=None if spans is None else tuple(spans[place] for place in order),
    )


def encode_pairs(encode: Encode, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
    """Encode pairs; those of one query that stand together are encoded together.

    ``first`` is the first pair's position in its request. Raises as ``encode``.
    """
    encodings = []
    for query, group in groupby(pairs, key=lambda pair: pair.query):
        documents = [pair.document for pair in group]
        encodings += encode(query, documents, options, first)
        first += len(documents)
    return encodings
