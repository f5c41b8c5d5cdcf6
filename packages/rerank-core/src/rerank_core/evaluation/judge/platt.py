"""Platt scaling: fits the two numbers that turn a model's scores into probabilities.

Platt, "Probabilistic outputs for support vector machines" (1999); the method, and its safety with large numbers, by
Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines" (2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core.errors import InvalidRequest
from rerank_core.evaluation.data.collection import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS = 100
_SMALLEST_STEP = 1e-10
_RIDGE = 1e-12
_FLAT = 1e-10  # of the gradient


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """Raw scores of pairs, and whether each document is relevant, in the same order.

    ``unjudged``: how many documents have no judgement, and count as not relevant.
    """

    raw: tuple[float, ...]
    relevant: tuple[bool, ...]
    unjudged: int


def judged_pairs(questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> JudgedPairs:
    """Pick the candidates that have a judgement, with their scores.

    Where all judgements of the collection are of relevant documents, the other candidates count as not relevant, as
    they do for nDCG.
    """
    lists_irrelevant = any(grade <= 0 for question in questions for grade in question.grades.values())
    raw: list[float] = []
    relevant: list[bool] = []
    unjudged = 0
    for question, own in zip(questions, scores, strict=True):
        for document, score in zip(question.candidates, own, strict=True):
            if document not in question.grades:
                if lists_irrelevant:
                    continue
                unjudged += 1
            raw.append(score)
            relevant.append(document in question.relevant)
    return JudgedPairs(tuple(raw), tuple(relevant), unjudged)


def fit_platt(raw: Sequence[float], relevant: Sequence[bool]) -> tuple[float, float]:
    """Find the a and b for which sigmoid(a * raw + b) has the least log loss on the judgements, by Newton steps.

    The targets are a little inside 0 and 1, (n + 1) / (n + 2) and 1 / (m + 2) for n relevant and m other pairs, so that
    a and b stay finite where one score separates all. a is below 0 for scores that are higher where a document is not
    relevant.

    Raises ``InvalidRequest`` for scores that are not finite or all the same, and where either kind of pair is missing.
    """
    import numpy as np

    scores, wanted = np.array(raw, dtype=np.float64), np.array(relevant, dtype=bool)
    positives = int(wanted.sum())
    negatives = len(wanted) - positives
    if len(scores) != len(wanted):
        raise InvalidRequest(f"{len(scores)} scores beside {len(wanted)} judgements: each pair needs both")
    if not positives or not negatives:
        raise InvalidRequest(
            f"{positives} relevant and {negatives} other pairs: a calibration needs pairs of both kinds"
        )
    if not np.isfinite(scores).all():
        raise InvalidRequest(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite numbers")
    middle = float(scores.mean())
    spread = float(np.abs(scores - middle).max())
    if not spread > abs(middle) * 1e-12:
        raise InvalidRequest(f"all {len(scores)} scores are {middle:g}: nothing tells relevant from other pairs")

    # In units of the largest distance, so that scores of any size make a system of equations that can be solved.
    units = (scores - middle) / spread
    targets = np.where(wanted, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, offset = _newton(units, targets, start=math.log((positives + 1) / (negatives + 1)))
    return slope / spread, offset - slope * middle / spread


def log_loss(raw: Sequence[float], relevant: Sequence[bool], a: float = 1.0, b: float = 0.0) -> float:
    """Return the mean of -log of the probability, sigmoid(a * raw + b), that each pair's judgement was given."""
    import numpy as np

    logits = a * np.array(raw, dtype=np.float64) + b
    return float(np.logaddexp(0.0, np.where(np.array(relevant, dtype=bool), -logits, logits)).mean())


def _newton(scores: NDArray[np.float64], targets: NDArray[np.float64], *, start: float) -> tuple[float, float]:
    """Find the minimum from slope 0 and offset ``start``; each step is halved until the loss falls enough."""
    import numpy as np

    def loss(slope: float, offset: float) -> float:
        logits = slope * scores + offset
        return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))

    slope, offset = 0.0, start
    best = loss(slope, offset)
    for _ in range(_STEPS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(slope * scores + offset, -500.0, 500.0)))
        gaps, weights = chances - targets, chances * (1.0 - chances)
        gradient = (float(np.mean(gaps * scores)), float(np.mean(gaps)))
        if max(map(abs, gradient)) < _FLAT:
            break
        xx, xy, yy = (
            float(np.mean(weights * scores * scores)) + _RIDGE,
            float(np.mean(weights * scores)),
            float(np.mean(weights)) + _RIDGE,
        )
        determinant = xx * yy - xy * xy
        down = (
            -(yy * gradient[0] - xy * gradient[1]) / determinant,
            -(xx * gradient[1] - xy * gradient[0]) / determinant,
        )
        steepness = gradient[0] * down[0] + gradient[1] * down[1]
        step = 1.0
        while step >= _SMALLEST_STEP:
            found = loss(slope + step * down[0], offset + step * down[1])
            if found < best + 1e-4 * step * steepness:
                break
            step /= 2
        else:
            break
        slope, offset, best = slope + step * down[0], offset + step * down[1], found
    return slope, offset
