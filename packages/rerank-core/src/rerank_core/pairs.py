"""Pairs whose queries may differ: scored together where the scorer can, else query by query."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from rerank_core.inputs import as_pair_list
from rerank_core.scorer import Scorer
from rerank_core.types import Pair, ScoreOptions, Scores, Usage

MapQueries: TypeAlias = Callable[[Callable[[str], Scores], Sequence[str]], Iterable[Scores]]
"""As ``map``: one result per query, in their order."""


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
    positions: dict[str, list[int]] = {}
    for position, pair in enumerate(known):
        positions.setdefault(pair.query, []).append(position)
    if not positions:
        return scorer.score("", [], options=options)

    def score(query: str) -> Scores:
        return scorer.score(query, [known[position].document for position in positions[query]], options=options)

    answers = list(map_queries(score, list(positions)))
    order = [0] * len(known)  # where each pair's score stands, among the scores of all answers
    for place, position in enumerate(position for own in positions.values() for position in own):
        order[position] = place
    raw_values = [raw for answer in answers for raw in answer.raw_values or ()]
    spans = [span for answer in answers for span in answer.spans or [None] * len(answer.values)]
    values = [value for answer in answers for value in answer.values]
    return Scores(
        values=tuple(values[place] for place in order),
        raw_values=tuple(raw_values[place] for place in order) if len(raw_values) == len(known) else None,
        spans=tuple(spans[place] for place in order) if any(spans) else None,
        model=answers[0].model,
        usage=Usage(
            pairs=sum(answer.usage.pairs for answer in answers),
            tokens=sum(answer.usage.tokens for answer in answers),
            truncated=sum(answer.usage.truncated for answer in answers),
        ),
    )
