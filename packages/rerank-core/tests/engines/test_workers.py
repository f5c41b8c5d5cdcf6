import contextlib
import gc
import threading
import weakref

import pytest
import rerank_core
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rerank_core.engines.workers import WorkerPool, balanced, in_pieces


@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=60), workers=st.integers(1, 8))
def test_every_position_is_dealt_once_and_no_worker_is_empty_or_overfull(sizes, workers):
    dealt = balanced(sizes, workers)

    assert sorted(position for worker in dealt for position in worker) == list(range(len(sizes)))
    assert len(dealt) == min(workers, len(sizes))
    assert all(dealt)
    loads = [sum(sizes[position] for position in worker) for worker in dealt]
    assert max(loads) <= sum(sizes) / len(dealt) + max(sizes)


def test_every_worker_begins_alone_and_with_one_thread():
    """Two first calls at once are a race inside MKL, and scores that are off by 1e-4."""
    inside, begun = threading.Semaphore(1), []

    def first() -> None:
        alone = inside.acquire(blocking=False)
        begun.append((alone, threading.get_ident(), torch.get_num_threads()))
        torch.ones(64, 64) @ torch.ones(64, 64)
        inside.release()

    WorkerPool(4, first)

    assert [(alone, threads) for alone, _, threads in begun] == [(True, 1)] * 4
    assert len({worker for _, worker, _ in begun}) == 4


def test_a_first_call_that_fails_is_an_error_and_no_hang():
    def first() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        WorkerPool(2, first)


def test_every_part_has_its_result_and_an_error_waits_for_the_parts_beside_it():
    """Nothing computes any more when a failure is seen: what follows may need the memory."""
    workers, done = WorkerPool(2, lambda: None), threading.Event()

    def work(part: int) -> int:
        if part == 0:
            raise ValueError("the first one")
        done.set()
        return part

    with pytest.raises(ValueError, match="the first one"):
        workers.map(work, [0, 1])
    assert done.is_set()
    assert workers.map(work, [1, 2, 3]) == [1, 2, 3]


def test_an_error_is_freed_with_what_it_holds_once_it_is_handled():
    """Else the memory whose want was the failure would stay in use."""
    workers, held = WorkerPool(1, lambda: None), []

    class Buffer:
        pass

    def work(_: int) -> None:
        buffer = Buffer()
        held.append(weakref.ref(buffer))
        raise MemoryError

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(MemoryError):
            workers.map(work, [0])
        workers.map(len, [[]])  # the worker has taken something else
        assert held[0]() is None
    finally:
        gc.enable()


MANY = 1e9  # microseconds
TRIES = 10_000  # until all other workers wait: they do so within the first few


@given(size=st.integers(1, 100), unit=st.integers(1, 40), count=st.integers(1, 4))
@settings(max_examples=50)
def test_pieces_are_all_of_the_work_once_in_whole_units(size, unit, count):
    done = []

    def work(_: int) -> None:
        in_pieces(lambda first, end: done.append((first, end)), size, unit, MANY)

    WorkerPool(count, lambda: None).map(work, [0])

    places = sorted(done)
    assert [first for first, _ in places] == [0, *(end for _, end in places[:-1])]
    assert places[-1][1] == size
    assert all(first % unit == 0 and first < end for first, end in places)


def test_workers_that_are_idle_help_with_the_pieces(monkeypatch):
    monkeypatch.setattr("rerank_core.engines.workers._PIECES", 1)
    workers, together, threads = WorkerPool(3, lambda: None), threading.Barrier(3), set()

    def piece(first: int, end: int) -> None:
        if end - first == 2:  # a third of it: each worker has begun to wait
            together.wait(10)  # until three threads are here
            threads.add(threading.get_ident())

    def work(_: int) -> None:
        for _ in range(TRIES):
            if not threads:
                in_pieces(piece, 6, 1, MANY)

    workers.map(work, [0])

    assert len(threads) == 3


def test_what_is_small_and_what_no_worker_does_stays_in_one_piece():
    workers, pieces = WorkerPool(3, lambda: None), []

    workers.map(lambda _: in_pieces(lambda first, end: pieces.append((first, end)), 64, 1, microseconds=10), [0])
    in_pieces(lambda first, end: pieces.append((first, end)), 64, 1, MANY)

    assert pieces == [(0, 64), (0, 64)]


def test_a_worker_that_seemed_idle_and_never_comes_is_not_waited_for():
    """It may have found something else to do, or want help itself: two that waited for each other would never end."""
    workers, done = WorkerPool(1, lambda: None), []
    workers._workers.get()._calls.idle.add(-1)  # nobody's thread
    caller = threading.Thread(
        target=workers.map, args=[lambda _: in_pieces(lambda first, end: done.append(end - first), 16, 1, MANY), [0]]
    )

    caller.start()
    caller.join(30)

    assert not caller.is_alive()
    assert len(done) > 1
    assert sum(done) == 16


def test_workers_that_all_want_help_wait_for_nobody():
    """A worker that seemed idle may want help with its own work: each then does its pieces itself."""
    workers, done = WorkerPool(4, lambda: None), []

    def work(_: int) -> None:
        for _ in range(200):
            in_pieces(lambda first, end: done.append(end - first), 16, 1, MANY)

    callers = [threading.Thread(target=workers.map, args=[work, range(parts)]) for parts in (1, 2, 1)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)

    assert sum(done) == 4 * 200 * 16


@pytest.mark.parametrize("failing", [0, 1], ids=["its own", "a helper's"])
def test_a_piece_that_fails_is_an_error_once_the_others_are_done(failing):
    workers, together, done = WorkerPool(2, lambda: None), threading.Barrier(2), []

    def piece(first: int, end: int) -> None:
        if end - first == 1:  # a half of it: the other worker has begun to wait
            together.wait(10)
            if first == failing:
                raise IndexError(f"piece {first}")
            done.append(first)

    def work(_: int) -> None:
        for _ in range(TRIES):
            in_pieces(piece, 2, 1, MANY)

    with pytest.raises(IndexError, match=f"piece {failing}"):
        workers.map(work, [0])
    assert done == [1 - failing]


def test_the_threads_of_a_model_end_with_it(tiny):
    before = set(threading.enumerate())
    model = rerank_core.load(str(tiny("bert")), engine="packed", device="cpu")
    model.score("a panda", ["bamboo"])
    own = [thread for thread in threading.enumerate() if thread not in before]
    assert own

    del model
    for thread in own:
        thread.join(10)

    assert not [thread for thread in own if thread.is_alive()]
