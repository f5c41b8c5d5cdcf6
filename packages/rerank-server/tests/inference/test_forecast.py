"""How long a request will wait, against what a queue really does."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rerank_core.types import TokenSequence
from rerank_server.inference.forecast import seconds_left
from rerank_server.inference.pace import Pace
from rerank_server.inference.queue import Queue, QueuedRequest

NEVER = float("inf")


def order_of(queue: Queue[TokenSequence], name: int, count: int, tokens: int) -> QueuedRequest[TokenSequence]:
    order = queue.open(NEVER)
    queue.add(order, [TokenSequence.of([name, number, *[0] * (tokens - 2)]) for number in range(count)])
    return order


def measured(fixed: float, per_token: float, budget: int) -> Pace:
    pace = Pace()
    for tokens in (budget // 8, budget // 2, budget):
        for _ in range(3):
            pace.update(tokens, fixed + per_token * tokens)
    return pace


def played(
    queue: Queue[TokenSequence], orders: list[QueuedRequest[TokenSequence]], budget: int, pace: Pace
) -> dict[QueuedRequest[TokenSequence], float]:
    """Seconds until each order is done where nobody else comes."""
    clock, done = 0.0, {}
    while batch := queue.take(budget, now=0):
        clock += pace.seconds(sum(len(job.work) for job in batch)) or 0.0
        for job in batch:
            queue.complete(job)
        done |= {order: clock for order in orders if not order.missing and order not in done}
    return done


Load = st.lists(st.tuples(st.integers(1, 60), st.integers(8, 120)), min_size=1, max_size=20)


@given(Load, st.integers(0, 12), st.sampled_from([0.0, 0.05, 0.5]), st.sampled_from([256, 1024]))
def test_the_wait_is_foreseen_within_a_factor_of_two(load, begun: int, fixed: float, budget: int) -> None:
    queue: Queue[TokenSequence] = Queue()
    pace = measured(fixed, 0.0001, budget)
    orders = [order_of(queue, name, count, tokens) for name, (count, tokens) in enumerate(load)]
    for _ in range(begun):
        for job in queue.take(budget, now=0):
            queue.complete(job)
    waiting = [order for order in orders if order.missing]
    assume(waiting)

    expected = seconds_left(queue, {}, budget, pace)
    found = played(queue, waiting, budget, pace)

    assert expected is not None
    assert expected.keys() == set(waiting)
    slack = 3 * (pace.seconds(budget) or 0.0)
    for order in waiting:  # a few batches more or less are no matter
        assert found[order] / 2 - slack <= expected[order] <= 2 * found[order] + slack


def test_a_request_ends_with_all_others_where_all_want_the_same() -> None:
    queue: Queue[TokenSequence] = Queue()
    pace = measured(0.0, 0.001, 1000)
    orders = [order_of(queue, 1, 100, 50) for _ in range(30)]  # 5,000 tokens, wanted thirty times

    expected = seconds_left(queue, {}, 1000, pace)

    assert expected is not None
    assert max(expected.values()) == pytest.approx(5.0)
    assert len(expected) == len(orders)


def test_texts_that_wait_to_be_tokenised_are_waited_for() -> None:
    queue: Queue[TokenSequence] = Queue()
    pace = measured(0.0, 0.001, 1000)
    order, later = order_of(queue, 1, 10, 100), queue.open(NEVER)

    expected = seconds_left(queue, {later: 9000}, 1000, pace)

    assert expected is not None
    assert expected[order] < expected[later] == pytest.approx(10.0)


def test_the_oldest_request_is_not_expected_before_it_has_its_half() -> None:
    """Three equal requests that fill a server: the first ends after two thirds of all work, not after one."""
    queue: Queue[TokenSequence] = Queue()
    pace = measured(0.0, 0.001, 1000)
    first, *others = (order_of(queue, name, 100, 100) for name in range(3))

    expected = seconds_left(queue, {}, 1000, pace)

    assert expected is not None
    assert expected[first] == pytest.approx(20.0)
    assert all(expected[order] == pytest.approx(30.0, rel=0.1) for order in others)


def test_nothing_is_foreseen_where_nothing_like_it_was_measured() -> None:
    queue: Queue[TokenSequence] = Queue()
    order_of(queue, 1, 100, 100)
    pace = Pace()
    assert seconds_left(queue, {}, 1000, pace) is None

    pace.update(10, 0.001)  # a warm-up
    assert seconds_left(queue, {}, 1000, pace) is None

    pace.update(500, 0.5)
    assert seconds_left(queue, {}, 1000, pace) is not None


def test_the_forecast_leaves_the_queue_as_it_was() -> None:
    queue: Queue[TokenSequence] = Queue()
    orders = [order_of(queue, name, 20, 30) for name in range(3)]
    before = queue.tokens, [order.served for order in orders], [order.waiting for order in orders]

    queue.forecast({})

    assert before == (queue.tokens, [order.served for order in orders], [order.waiting for order in orders])


def test_a_small_batch_takes_longer_for_each_token_than_a_large_one() -> None:
    pace = measured(0.3, 0.001, 1000)

    assert pace.seconds(20) == pytest.approx(0.3 + 0.125)  # as the smallest that was measured
    assert pace.seconds(750) == pytest.approx(0.3 + 0.75)
    assert pace.seconds(2000) == pytest.approx(2 * 1.3)


def test_the_first_batch_of_a_size_is_forgotten_for_the_second() -> None:
    pace = Pace()
    pace.update(100, 30.0)
    assert pace.seconds(100) == 30.0
    pace.update(100, 1.0)
    assert pace.seconds(100) == 1.0
    pace.update(100, 2.0)
    assert 1.0 < pace.seconds(100) < 2.0
