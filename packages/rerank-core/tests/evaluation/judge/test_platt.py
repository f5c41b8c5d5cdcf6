import math
import random

import pytest
from rerank_core import InvalidRequest
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.judge.platt import fit_platt, judged_pairs, log_loss


def drawn(a: float, b: float, count: int = 20_000) -> tuple[list[float], list[bool]]:
    """Scores, and judgements that follow sigmoid(a * score + b)."""
    chance = random.Random(0)
    raw = [chance.gauss(0, 3) for _ in range(count)]
    return raw, [chance.random() < 1 / (1 + math.exp(-(a * score + b))) for score in raw]


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.4, -2.0), (2.5, 1.0), (-0.7, 0.3)])
def test_it_finds_what_the_judgements_were_drawn_from(a, b):
    found = fit_platt(*drawn(a, b))

    assert found == (pytest.approx(a, rel=0.1, abs=0.1), pytest.approx(b, rel=0.1, abs=0.1))


def test_nothing_near_it_is_better():
    """The minimum of the log loss with the targets of Platt."""
    raw, relevant = drawn(0.6, -1.5, 500)
    positives = sum(relevant)
    targets = [(positives + 1) / (positives + 2) if one else 1 / (len(raw) - positives + 2) for one in relevant]

    def loss(a: float, b: float) -> float:
        logits = [a * score + b for score in raw]
        return sum(math.log1p(math.exp(x)) - t * x for x, t in zip(logits, targets, strict=True))

    a, b = fit_platt(raw, relevant)
    around = [loss(a + da, b + db) for da in (-1e-3, 0, 1e-3) for db in (-1e-3, 0, 1e-3) if (da, db) != (0, 0)]
    assert loss(a, b) < min(around)


def test_a_score_that_separates_all_still_gives_finite_numbers():
    a, b = fit_platt([-2.0, -1.0, 1.0, 2.0], [False, False, True, True])

    assert 0 < a < 10
    assert b == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e4), (1e-3, -50.0)])
def test_scores_on_another_scale_give_the_same_probabilities(factor, shift):
    raw, relevant = drawn(1.2, -1.0, 300)
    a, b = fit_platt(raw, relevant)
    scaled = [factor * score + shift for score in raw]

    a2, b2 = fit_platt(scaled, relevant)

    assert [a2 * score + b2 for score in scaled] == pytest.approx([a * score + b for score in raw], abs=1e-6)


def test_huge_scores_do_no_harm():
    a, b = fit_platt([-1e300, 0.0, 1e300, 1.0], [False, False, True, True])

    assert math.isfinite(a)
    assert math.isfinite(b)


@pytest.mark.parametrize(
    ("raw", "relevant", "complaint"),
    [
        ([], [], "0 relevant and 0 other pairs"),
        ([1.0, 2.0], [True, True], "2 relevant and 0 other pairs"),
        ([1.0, 2.0], [False, False], "0 relevant and 2 other pairs"),
        ([1.0], [True, False], "1 scores beside 2 judgements"),
        ([1.0, math.nan], [True, False], "1 of 2 scores are not finite"),
        ([3.0, 3.0], [True, False], "all 2 scores are 3"),
    ],
)
def test_what_cannot_be_fitted_says_why(raw, relevant, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        fit_platt(raw, relevant)


def test_the_log_loss_is_of_the_probability_that_was_given():
    assert log_loss([0.0, 0.0], [True, False]) == pytest.approx(math.log(2))
    assert log_loss([1000.0], [False]) == pytest.approx(1000.0)
    assert log_loss([1.0], [True], a=0.0, b=math.log(3)) == pytest.approx(-math.log(0.75))


def question(grades: dict[str, int]) -> Question:
    return Question(id="q", query="q", candidates=("a", "b", "c"), documents=("a", "b", "c"), grades=grades)


def test_where_judges_say_what_is_not_relevant_only_their_pairs_count():
    pairs = judged_pairs([question({"a": 2, "b": 0})], [[1.0, 2.0, 3.0]])

    assert (pairs.raw, pairs.relevant, pairs.unjudged) == ((1.0, 2.0), (True, False), 0)


def test_where_judges_list_what_is_relevant_the_others_are_not():
    pairs = judged_pairs([question({"b": 1}), question({"a": 1})], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    assert pairs.relevant == (False, True, False, True, False, False)
    assert pairs.unjudged == 4
