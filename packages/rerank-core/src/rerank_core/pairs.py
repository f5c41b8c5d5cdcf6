"""Pairs whose queries may differ: scored together where the scorer can, else query by query."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from rerank_core.inputs import as_pair_list
from rerank_core.progress import keywords, progress_bar
from rerank_core.scorer import Scorer
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, Usage

Item = TypeVar("Item")

MapQueries: TypeAlias = Callable[[Callable[[str], Scores], Sequence[str]], Iterable[Scores]]
"""As ``map``: one result per query, in their order."""

Encode: TypeAlias = Callable[[str, Sequence[str], ScoreOptions, int], list[Encoding]]
"""See ``StepwiseModel.encode``."""


@runtime_checkable
class PairScorer(Protocol):
    """Scores pairs of different queries together, as a model in this process does."""

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        """Return one score per pair, in their order. Where a caller wants ``progress``, that is a keyword, too."""
        ...


def score_pairs(
    scorer: Scorer,
    pairs: Iterable[Sequence[str]],
    options: ScoreOptions | None = None,
    *,
    map_queries: MapQueries = map,
    progress: bool = False,
) -> Scores:
    """Score pairs, each a query and a document: one score per pair, in their order.

    A scorer with a method ``score_pairs`` gets all of them at once. Any other is called once per distinct query;
    ``map_queries`` may make these calls at the same time. ``model`` is that of the first call. ``progress`` shows a bar
    on a terminal or in a notebook, and nothing elsewhere.

    Raises ``InvalidRequest`` for what is no pair of texts, and what the scorer raises.
    """
    known = as_pair_list(pairs)
    if isinstance(scorer, PairScorer):
        return scorer.score_pairs(known, options, **keywords(progress))
    return score_by_query(scorer, known, options, map_queries=map_queries, progress=progress)


def score_by_query(
    scorer: Scorer,
    pairs: Sequence[Pair],
    options: ScoreOptions | None = None,
    *,
    map_queries: MapQueries = map,
    progress: bool = False,
) -> Scores:
    """Score pairs as ``score_pairs``, with one call of ``scorer.score`` per distinct query."""
    positions = positions_by_query(pairs)
    if not positions:
        return scorer.score("", [], options=options)

    def score(query: str) -> Scores:
        return scorer.score(query, [pairs[position].document for position in positions[query]], options=options)

    answers = []
    with progress_bar(len(pairs), shown=progress) as advance:
        for answer in map_queries(score, list(positions)):
            answers.append(answer)
            if advance is not None:
                advance(len(answer))
    return reordered(joined(answers), [position for own in positions.values() for position in own])


def joined(answers: Sequence[Scores]) -> Scores:
    """Put the scores of several calls, at least one, behind each other. ``model`` is that of the first."""
    return Scores(
        values=tuple(value for answer in answers for value in answer),
        raw_values=_joined([answer.raw_values for answer in answers]),
        spans=_filled([(len(answer), answer.spans) for answer in answers]),
        sentences=_filled([(len(answer), answer.sentences) for answer in answers]),
        model=answers[0].model,
        usage=Usage(
            pairs=sum(answer.usage.pairs for answer in answers),
            tokens=sum(answer.usage.tokens for answer in answers),
            truncated=sum(answer.usage.truncated for answer in answers),
        ),
    )


def _joined(parts: Sequence[tuple[Item, ...] | None]) -> tuple[Item, ...] | None:
    """Join the values of all calls; None where those of one are not known."""
    known = [part for part in parts if part is not None]
    return tuple(item for part in known for item in part) if len(known) == len(parts) else None


def _filled(parts: Sequence[tuple[int, tuple[Item | None, ...] | None]]) -> tuple[Item | None, ...] | None:
    """Join the values of all calls, None for each document of a call without any; None where no call has any."""
    if all(part is None for _, part in parts):
        return None
    return tuple(item for length, part in parts for item in (part if part is not None else [None] * length))


def positions_by_query(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Find the positions of each query's pairs, in the order in which queries first occur."""
    positions: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        positions.setdefault(pair.query, []).append(position)
    return positions


def reordered(scores: Scores, positions: Sequence[int]) -> Scores:
    """Put scores into another order: each goes to its position."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    return replace(
        scores,
        values=tuple(scores.values[place] for place in order),
        raw_values=_picked(scores.raw_values, order),
        spans=_picked(scores.spans, order),
        sentences=_picked(scores.sentences, order),
    )


def _picked(values: tuple[Item, ...] | None, order: Sequence[int]) -> tuple[Item, ...] | None:
    return None if values is None else tuple(values[place] for place in order)


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
