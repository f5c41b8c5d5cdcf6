"""Fits a calibration of one model to its scores of a collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rerank_core.errors import InvalidRequest
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.judge.platt import fit_platt, judged_pairs, log_loss
from rerank_core.evaluation.run.answers import SystemRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """sigmoid(a * raw + b) is the chance that a document is relevant, as far as ``data`` goes.

    - ``model``, ``fingerprint``: whose raw scores; ``pairs``: how many it was fitted to, ``relevant`` of them, and
      ``unjudged`` that count as not relevant.
    - ``loss_before``, ``loss_after``: mean log loss of sigmoid(raw) and of sigmoid(a * raw + b) on the same pairs.
    """

    a: float
    b: float
    model: str
    fingerprint: str | None
    pairs: int
    relevant: int
    unjudged: int
    data: str
    loss_before: float
    loss_after: float

    def as_json(self) -> str:
        """Write the fields that are kept, as JSON."""
        names = ("a", "b", "model", "fingerprint", "pairs", "relevant", "unjudged", "data")
        return json.dumps({name: getattr(self, name) for name in names}, ensure_ascii=False, indent=1) + "\n"

    def sentence(self) -> str:
        """Describe the fit in a sentence."""
        unjudged = f", {self.unjudged} without a judgement counted as not relevant" if self.unjudged else ""
        return (
            f"Calibrated: a {self.a:.4f}, b {self.b:+.4f}, "
            f"from {self.pairs} pairs ({self.relevant} relevant{unjudged}); "
            f"log loss {self.loss_before:.4f} before, {self.loss_after:.4f} after."
        )


def calibrate(questions: Sequence[Question], run: SystemRun, *, data: str) -> Fit:
    """Fit a calibration. Raises ``InvalidRequest`` where the pairs do not allow one.

    A slope that is not above 0 is refused: it would turn the order around.
    """
    pairs = judged_pairs(questions, [answer.scores for answer in run.answers])
    a, b = fit_platt(pairs.raw, pairs.relevant)
    if a <= 0:
        raise InvalidRequest(
            f"{run.loaded.model} scores relevant documents of {data} no higher than others (a is {a:.4f}, from "
            f"{len(pairs.raw)} pairs): nothing can be calibrated, use another model or other data"
        )
    return Fit(
        a=a,
        b=b,
        model=run.loaded.model,
        fingerprint=run.loaded.fingerprint,
        pairs=len(pairs.raw),
        relevant=sum(pairs.relevant),
        unjudged=pairs.unjudged,
        data=data,
        loss_before=log_loss(pairs.raw, pairs.relevant),
        loss_after=log_loss(pairs.raw, pairs.relevant, a, b),
    )
