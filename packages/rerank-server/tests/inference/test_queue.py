"""Who computes next: nobody waits for ever, and small requests do not wait behind large ones."""

import weakref
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.types import SharedPrefix, TokenSequence
from rerank_server.inference.queue import Queue, QueuedRequest, Size

NEVER = float("inf")


def sequences(count: int, tokens: int, name: int) -> list[TokenSequence]:
    return [TokenSequence.of([name, number, *[0] * (tokens - 2)]) for number in range(count)]


def lengths(batch) -> list[int]:
    return [len(job.work) for job in batch]


def owners(batch) -> set[QueuedRequest]:
    return {order for job in batch for order in job.requests}


def order_of(queue: Queue, wanted: list[TokenSequence], deadline: float = NEVER) -> QueuedRequest:
    order = queue.open(deadline)
    queue.add(order, wanted)
    return order


def test_an_empty_queue_gives_an_empty_batch() -> None:
    assert Queue().take(100, now=0) == []


def test_a_batch_keeps_to_its_budget_and_the_order_of_the_request() -> None:
    queue = Queue()
    wanted = sequences(5, 30, name=1)
    order_of(queue, wanted)

    batches = [[job.work for job in queue.take(100, now=0)] for _ in range(3)]

    assert batches == [wanted[:3], wanted[3:], []]
    assert (queue.sequences, queue.tokens) == (0, 0)


def test_a_sequence_larger_than_the_budget_goes_alone() -> None:
    queue = Queue()
    order_of(queue, [*sequences(1, 500, name=1), *sequences(1, 10, name=2)])

    assert lengths(queue.take(100, now=0)) == [500]
    assert lengths(queue.take(100, now=0)) == [10]


def test_a_small_request_behind_a_large_one_is_in_the_next_batch() -> None:
    queue = Queue()
    order_of(queue, sequences(1000, 20, name=1))
    queue.take(100, now=0)
    small = order_of(queue, sequences(1, 20, name=2))

    assert small in owners(queue.take(100, now=0))


def test_a_small_request_behind_large_sequences_waits_for_one_batch_more_at_most() -> None:
    """Where each batch is a single sequence, the two halves take turns."""
    queue = Queue()
    order_of(queue, sequences(1000, 200, name=1))
    queue.take(100, now=0)
    small = order_of(queue, sequences(1, 20, name=2))

    assert small in owners(queue.take(100, now=0)) | owners(queue.take(100, now=0))


def test_a_small_request_goes_before_large_ones_that_had_nothing_either() -> None:
    queue = Queue()
    for name in range(1, 13):
        order_of(queue, sequences(20, 200, name=name))
    small = order_of(queue, sequences(1, 20, name=99))

    assert small in owners(queue.take(100, now=0)) | owners(queue.take(100, now=0))


def test_the_oldest_request_has_half_of_what_is_computed_whatever_comes_behind_it() -> None:
    queue = Queue()
    oldest = order_of(queue, sequences(100, 10, name=0))
    taken = {True: 0, False: 0}
    for number in range(1, 21):
        for new in range(20):
            order_of(queue, sequences(1, 10, name=100 * number + new))
        for job in queue.take(100, now=0):
            taken[oldest in job.requests] += 1

    assert taken == {True: 100, False: 100}


def test_equal_sequences_are_one_job_for_all_who_want_it() -> None:
    queue = Queue()
    wanted = sequences(2, 10, name=1)
    first, second = order_of(queue, wanted), order_of(queue, wanted)

    batch = queue.take(100, now=0)

    assert len(batch) == 2
    assert [queue.complete(job) for job in batch] == [[first, second], [first, second]]
    assert not first.missing
    assert not second.missing


def test_a_sequence_in_the_network_is_waited_for_and_not_computed_again() -> None:
    queue = Queue()
    wanted = sequences(1, 10, name=1)
    order_of(queue, wanted)
    (running,) = queue.take(100, now=0)
    late = order_of(queue, wanted)

    assert queue.take(100, now=0) == []
    assert late in queue.complete(running)


def test_what_is_dropped_is_never_taken_unless_somebody_else_wants_it() -> None:
    queue = Queue()
    shared, own = sequences(1, 10, name=1), sequences(3, 10, name=2)
    leaving = order_of(queue, shared + own)
    order_of(queue, shared)

    queue.drop(leaving)

    assert (queue.sequences, queue.tokens) == (1, 10)
    assert [job.work for job in queue.take(100, now=0)] == shared


def test_a_sequence_that_was_dropped_may_be_wanted_again() -> None:
    queue = Queue()
    wanted = sequences(1, 10, name=1)
    queue.drop(order_of(queue, wanted))
    order_of(queue, wanted)

    assert len(queue.take(100, now=0)) == 1


def test_what_is_past_its_deadline_is_never_taken() -> None:
    queue = Queue()
    order_of(queue, sequences(3, 10, name=1), deadline=5.0)
    order_of(queue, sequences(1, 10, name=2), deadline=6.0)

    assert len(queue.take(100, now=5.0)) == 1


def test_orders_that_are_gone_do_not_pile_up_under_load() -> None:
    queue = Queue()
    for number in range(2000):
        order = order_of(queue, sequences(3, 10, name=number))
        (job,) = queue.take(10, now=0)
        queue.drop(order)
        queue.complete(job)

    assert len(queue._by_served) < 100
    assert (queue.sequences, queue.tokens, len(queue._items)) == (0, 0, 0)


Step = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5), st.lists(st.integers(0, 30), min_size=1, max_size=8)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.none()),
    st.tuples(st.just("take"), st.integers(1, 60), st.none()),
)


@given(st.lists(Step, max_size=40))
def test_whatever_happens_every_sequence_is_computed_once_within_budget_and_told_to_all(steps) -> None:
    queue = Queue()
    orders: dict[int, QueuedRequest] = {}
    wanted: dict[QueuedRequest, set[TokenSequence]] = {}
    told: dict[QueuedRequest, set[TokenSequence]] = {}
    running: deque = deque()

    def take(budget: int) -> bool:
        batch = queue.take(budget, now=0)
        assert len(batch) <= 1 or sum(lengths(batch)) <= budget
        assert not {job.work for job in batch} & {job.work for old in running for job in old}
        assert all(job.requests for job in batch)
        if batch:
            running.append(batch)
        return bool(batch)

    def complete() -> None:
        for job in running.popleft():
            for order in queue.complete(job):
                told[order].add(job.work)

    for kind, number, numbers in steps:
        if kind == "add":
            order = orders.setdefault(number, queue.open(NEVER))
            new = {TokenSequence.of([n] * (2 + n % 20)) for n in numbers} - told.get(order, set())
            queue.add(order, sorted(new, key=len, reverse=True))
            wanted.setdefault(order, set()).update(new)
            told.setdefault(order, set())
        elif kind == "drop" and number in orders:
            order = orders.pop(number)
            queue.drop(order)
            wanted.pop(order)
            told.pop(order)
        elif kind == "take":
            take(number)
            if len(running) > 1:
                complete()
    while take(20):
        pass
    while running:
        complete()

    assert told == wanted
    assert (queue.sequences, queue.tokens) == (0, 0)
    assert not queue._items


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(2, 40)), min_size=1, max_size=12), st.integers(10, 80))
def test_nobody_starves(requests, budget) -> None:
    """While others keep coming, an order is done after at most twice the work that was there before it."""
    queue = Queue()
    orders = [order_of(queue, sequences(count, tokens, name=n)) for n, (count, tokens) in enumerate(requests)]
    work = sum(count * tokens for count, tokens in requests)
    computed, name = 0, 1000
    while any(order.missing for order in orders):
        name += 1
        order_of(queue, sequences(2, 5, name=name))
        for job in queue.take(budget, now=0):
            computed += len(job.work)
            queue.complete(job)

    assert computed <= 2 * work + 4 * (budget + 40)


@pytest.mark.parametrize("leavers", range(60, 75))
def test_a_queue_that_many_have_left_forgets_them_and_gives_the_work_of_who_stays(leavers: int) -> None:
    queue: Queue[TokenSequence] = Queue()
    for gone in sequences(leavers, 10, name=1):
        queue.drop(order_of(queue, [gone]))
    staying = order_of(queue, sequences(1, 10, name=2))

    assert len(queue._by_served) <= 64 + 2 + 1
    (item,) = queue.take(100, now=0)
    assert item.requests == [staying]
    assert queue.take(100, now=0) == []


# ---------------------------------------------------------------------------- shared prefixes


def prefixed(count: int, name: int, prefix: int = 50, rest: int = 10) -> list[TokenSequence]:
    return [TokenSequence.of([*[name] * prefix, *[number] * rest], prefix=prefix) for number in range(count)]


def prefixed_queue() -> Queue[TokenSequence]:
    return Queue(lambda one: Size(len(one) - one.prefix, one.prefix, one.prefix_ids))


def test_the_first_batch_pays_for_the_prefix() -> None:
    queue = prefixed_queue()
    request = order_of(queue, prefixed(10, name=1))
    assert (queue.tokens, request.waiting) == (150, 150)

    assert [item.charged for item in queue.take(70, now=0)] == [60, 10]
    assert (queue.tokens, request.waiting, request.served) == (80, 80, 70)
    assert [item.charged for item in queue.take(70, now=0)] == [10] * 7
    assert (queue.tokens, request.waiting, request.served) == (10, 10, 140)


def test_work_that_is_added_later_shares_a_prefix_that_was_taken() -> None:
    queue = prefixed_queue()
    first, *others = prefixed(3, name=1)
    request = order_of(queue, [first])
    (item,) = queue.take(100, now=0)
    queue.complete(item)

    queue.add(request, others)

    assert (queue.tokens, request.waiting) == (20, 20)
    assert [item.charged for item in queue.take(100, now=0)] == [10, 10]


def test_two_requests_have_a_prefix_each() -> None:
    queue = prefixed_queue()
    first, second = prefixed(2, name=1)
    order_of(queue, [first])
    order_of(queue, [second])

    assert queue.tokens == 120
    batch = queue.take(200, now=0)
    assert len({item.prefix for item in batch}) == 2
    assert [item.charged for item in batch] == [60, 60]


def test_the_prefix_of_a_dropped_request_counts_no_longer() -> None:
    queue = prefixed_queue()
    queue.drop(order_of(queue, prefixed(3, name=1)))

    assert (queue.tokens, queue.sequences) == (0, 0)


def test_work_that_another_request_needs_too_keeps_its_prefix_when_its_first_request_is_dropped() -> None:
    queue = prefixed_queue()
    wanted = prefixed(3, name=1)
    leaving = order_of(queue, wanted)
    order_of(queue, wanted[1:2])

    queue.drop(leaving)

    assert (queue.tokens, queue.sequences) == (60, 1)
    (item,) = queue.take(100, now=0)
    assert (item.work, item.charged, queue.tokens) == (wanted[1], 60, 0)


Step = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 4), st.lists(st.integers(0, 20), min_size=1, max_size=8)),
    st.tuples(st.just("drop"), st.integers(0, 4), st.none()),
    st.tuples(st.just("take"), st.integers(1, 40), st.none()),
    st.tuples(st.just("complete"), st.none(), st.none()),
)


@given(st.lists(Step, max_size=40))
def test_whatever_happens_each_prefix_is_paid_for_once_and_held_as_long_as_work_has_it(
    without_collection, steps
) -> None:
    queue = prefixed_queue()
    requests, running, paid = {}, [], weakref.WeakSet[SharedPrefix]()
    living = weakref.WeakSet[SharedPrefix]()

    def take(budget: int) -> bool:
        batch = queue.take(budget, now=0)
        assert len(batch) <= 1 or sum(item.charged for item in batch) <= budget
        for item in batch:
            own = len(item.work) - item.work.prefix
            if item.prefix is None or item.prefix in paid:
                assert item.charged == own
            else:
                assert item.charged == len(item.work)
                paid.add(item.prefix)
        running.extend(batch)
        return bool(batch)

    def complete_one() -> None:
        queue.complete(running.pop(0))

    def check() -> None:
        waiting = [item for item in queue._items.values() if not item.taken]
        prefixes = {item.prefix for item in waiting if item.prefix is not None and item.prefix not in paid}
        assert queue.sequences == len(waiting)
        assert queue.tokens == sum(item.own for item in waiting) + sum(prefix.size for prefix in prefixes)
        held = {item.prefix for item in [*waiting, *running]} - {None}
        for request in requests.values():
            held |= set(request.recent)
        living.update(held)
        assert set(living) == held

    with without_collection():
        for kind, number, numbers in steps:
            if kind == "add":
                request = requests.setdefault(number, queue.open(NEVER))
                new = [TokenSequence.of([n % 3] * 5 + [n] * (1 + n % 4), prefix=n % 3 and 5) for n in numbers]
                queue.add(request, new)
            elif kind == "drop" and number in requests:
                queue.drop(requests.pop(number))
            elif kind == "take":
                take(number)
            elif kind == "complete" and running:
                complete_one()
            request = None
            check()
        while take(20):
            pass
        while running:
            complete_one()
        for request in requests.values():
            queue.drop(request)
        assert queue.tokens == queue.sequences == len(living) == 0
