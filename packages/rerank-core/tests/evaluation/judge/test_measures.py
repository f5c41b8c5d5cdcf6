from math import log2

import pytest
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.judge.measures import candidate_recall, judge, judge_scores


def question(grades: dict[str, int], candidates: str) -> Question:
    return Question(id="q", query="q", candidates=tuple(candidates), documents=tuple(candidates), grades=grades)


def test_rankings_are_judged_by_the_book():
    """Linear gain, over the best order of all judged documents: z is relevant and no candidate."""
    judged = judge([question({"a": 3, "b": 0, "c": 1, "z": 1}, "abc")], [["b", "a", "c"]])

    gain = 3 / log2(3) + 1 / log2(4)
    assert judged.ndcg == pytest.approx([gain / (3 + 1 / log2(3) + 1 / log2(4))])
    assert judged.mrr == (0.5,)
    assert judged.recall == pytest.approx([2 / 3])


def test_only_the_best_ten_count():
    judged = judge([question({"l": 1}, "abcdefghijkl")], ["abcdefghijkl"])

    assert (judged.ndcg, judged.mrr, judged.recall) == ((0.0,), (0.0,), (0.0,))


def test_ties_keep_the_order_of_the_candidates():
    for grades, expected in (({"b": 1}, 1.0), ({"a": 1}, 0.5)):
        assert judge_scores([question(grades, "ba")], [[1.0, 1.0]]).mrr == (expected,)


def test_a_question_without_candidates_is_worth_nothing():
    both = [question({"a": 1}, ""), question({"a": 1}, "a")]

    assert judge_scores(both, [[], [0.5]]).ndcg == (0.0, 1.0)
    assert candidate_recall(both) == 0.5
