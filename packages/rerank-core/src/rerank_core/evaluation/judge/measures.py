"""Measures of rankings (ir-measures)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rerank_core.evaluation.data.collection import Question

CUTOFF = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One value in [0, 1] per question, in their order.

    - ``ndcg``: nDCG@10 with linear gain, over the best order of all judged documents, candidates or not.
    - ``mrr``: 1 / the rank of the first relevant document, 0 where none is among the best 10.
    - ``recall``: the share of the relevant documents that are among the best 10.
    """

    ndcg: tuple[float, ...]
    mrr: tuple[float, ...]
    recall: tuple[float, ...]


def order(scores: Sequence[float]) -> list[int]:
    """Order positions, best first; ties keep their order, as in ``rank``."""
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def judge(questions: Sequence[Question], rankings: Iterable[Sequence[str]]) -> Judged:
    """Judge one ranking of document ids, best first, per question."""
    from ir_measures import RR, R, iter_calc, nDCG

    grades = {str(number): dict(question.grades) for number, question in enumerate(questions)}
    # Ranks as scores: the judge would break ties in its own way.
    runs = {
        str(number): {document: float(len(ranking) - place) for place, document in enumerate(ranking)}
        for number, ranking in enumerate(rankings)
    }
    values = {name: [0.0] * len(questions) for name in ("nDCG@10", "RR@10", "R@10")}
    for found in iter_calc([nDCG @ CUTOFF, RR @ CUTOFF, R @ CUTOFF], grades, runs):
        values[str(found.measure)][int(found.query_id)] = float(found.value)
    return Judged(ndcg=tuple(values["nDCG@10"]), mrr=tuple(values["RR@10"]), recall=tuple(values["R@10"]))


def candidate_recall(questions: Sequence[Question]) -> float:
    """Return the mean share of relevant documents that are candidates at all: the bound of every reranker."""
    shares = [
        len(question.relevant.intersection(question.candidates)) / len(question.relevant) for question in questions
    ]
    return sum(shares) / len(shares)


def judge_scores(questions: Sequence[Question], scores: Iterable[Sequence[float]]) -> Judged:
    """Judge the rankings that scores give, one per candidate of each question."""
    rankings = [
        [question.candidates[index] for index in order(own)] for question, own in zip(questions, scores, strict=True)
    ]
    return judge(questions, rankings)
