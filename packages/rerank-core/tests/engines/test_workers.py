import contextlib
import gc
import threading
import weakref

import pytest
import rerank_core
import torch
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.engines.workers import WorkerPool, balanced


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
