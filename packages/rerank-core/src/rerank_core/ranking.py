"""Orders documents by their scores."""

import math
from collections.abc import Iterable

from rerank_core.errors import InvalidRequest
from rerank_core.scorer import Scorer
from rerank_core.types import RankedDocument, ScoreOptions, Scores


def rank(scores: Scores, *, top_n: int | None = None, threshold: float | None = None) -> list[RankedDocument]:
    """Order documents by score, best first.

    Raw scores decide the order where they are known: a sigmoid is 1.0 for every logit above 37, and would lose it. Ties
    keep the caller's order, so that equal documents never swap between two identical requests. ``threshold`` keeps what
    scores at least as much, on the scale of ``scores``; ``top_n`` keeps so many of the best.

    Raises ``InvalidRequest`` for a ``top_n`` below 1, or a ``threshold`` that is not a number.
    """
    _check(top_n, threshold)
    values, spans = scores.values, scores.spans
    by = values if scores.raw_values is None else scores.raw_values
    order = sorted(range(len(values)), key=lambda index: -by[index])
    if threshold is not None:
        order = [index for index in order if values[index] >= threshold]
    return [RankedDocument(index, values[index], spans[index] if spans else None) for index in order[:top_n]]


def rerank(
    scorer: Scorer,
    query: str,
    documents: Iterable[str],
    *,
    top_n: int | None = None,
    threshold: float | None = None,
    options: ScoreOptions | None = None,
) -> list[RankedDocument]:
    """Score the documents and order them, best first: ``rank`` after ``scorer.score``."""
    _check(top_n, threshold)
    return rank(scorer.score(query, documents, options=options), top_n=top_n, threshold=threshold)


def _check(top_n: int | None, threshold: float | None) -> None:
    if top_n is not None and top_n < 1:
        raise InvalidRequest(f"top_n is {top_n}: use at least 1, or none for all")
    if threshold is not None and math.isnan(threshold):
        raise InvalidRequest("threshold is not a number")
