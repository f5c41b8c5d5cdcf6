import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.engines.lanes import Lanes, balanced


@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=60), lanes=st.integers(1, 8))
def test_every_position_is_dealt_once_and_no_lane_is_empty_or_overfull(sizes, lanes):
    dealt = balanced(sizes, lanes)

    assert sorted(position for lane in dealt for position in lane) == list(range(len(sizes)))
    assert len(dealt) == min(lanes, len(sizes))
    assert all(dealt)
    loads = [sum(sizes[position] for position in lane) for lane in dealt]
    assert max(loads) <= sum(sizes) / len(dealt) + max(sizes)


def test_every_lane_begins_alone_and_with_one_thread():
    """Two first calls at once are a race inside MKL, and scores that are off by 1e-4."""
    inside, begun = threading.Semaphore(1), []

    def first() -> None:
        alone = inside.acquire(blocking=False)
        begun.append((alone, threading.get_ident(), torch.get_num_threads()))
        torch.ones(64, 64) @ torch.ones(64, 64)
        inside.release()

    Lanes(4, first)

    assert [(alone, threads) for alone, _, threads in begun] == [(True, 1)] * 4
    assert len({lane for _, lane, _ in begun}) == 4


def test_a_first_call_that_fails_is_an_error_and_no_hang():
    def first() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Lanes(2, first)
