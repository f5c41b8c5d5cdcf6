import random

import pytest
from rerank_core.evaluation.judge.bootstrap import paired_interval


def test_the_same_values_give_the_same_interval():
    chance = random.Random(1)
    one, other = ([chance.random() for _ in range(50)] for _ in range(2))

    assert paired_interval(one, other) == paired_interval(one, other)
    assert paired_interval(one, other) != paired_interval(one, other, seed=1)


def test_the_interval_is_of_pairs_not_of_two_samples():
    """Each query gains exactly 0.1, however different queries are."""
    reference = [0.0, 0.2, 0.9, 0.5]

    low, high = paired_interval([value + 0.1 for value in reference], reference)

    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_the_interval_is_near_the_normal_one_for_many_queries():
    """Differences of 0 and 1, half each: the mean's standard error is 0.5 / sqrt(400)."""
    low, high = paired_interval([0.0, 1.0] * 200, [0.0] * 400)

    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_many_queries_are_drawn_in_parts():
    low, high = paired_interval([1.0] * 3000, [0.0] * 3000, resamples=1000)

    assert (low, high) == (1.0, 1.0)


def test_values_must_be_pairs():
    with pytest.raises(ValueError, match="0 values beside 0"):
        paired_interval([], [])
