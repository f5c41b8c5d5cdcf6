"""Several threads that each compute with one.

A product that several threads share is split differently for different numbers of threads and rows, and its last bits
with it. Here each lane computes whole sequences alone, so a score does not depend on how many lanes there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Work = TypeVar("Work")
Result = TypeVar("Result")


class Lanes:
    """``count`` threads, in each of which torch computes with one thread."""

    def __init__(self, count: int, first: Callable[[], object]) -> None:
        """``first`` is run once in each lane, one after another, before any of them computes beside another.

        MKL sets itself up in the first calls of a process. Where two threads made these at once, one score in a
        hundred fresh processes was off by 1e-4.
        """
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")
        before = torch.get_num_threads()
        everybody, one_by_one = threading.Barrier(count), threading.Lock()

        def begin() -> None:
            torch.get_num_threads()  # a thread takes over the common number when first asked: before it gets its own
            torch.set_num_threads(1)
            everybody.wait()  # so that each of these runs in a thread of its own
            with one_by_one:
                first()

        for started in [self._pool.submit(begin) for _ in range(count)]:
            started.result()
        # torch also keeps the number for threads to come, which the lanes have just set.
        torch.set_num_threads(before)

    def map(self, work: Callable[[Work], Result], parts: Sequence[Work]) -> list[Result]:
        """The results of every part, in their order."""
        return list(self._pool.map(work, parts))


def balanced(sizes: Sequence[int], lanes: int) -> list[list[int]]:
    """Deal positions to lanes, longest first and each to the lane with the least so far; no lane is empty."""
    loads = [0] * min(lanes, len(sizes))
    dealt: list[list[int]] = [[] for _ in loads]
    for position in sorted(range(len(sizes)), key=lambda position: -sizes[position]):
        lane = loads.index(min(loads))
        dealt[lane].append(position)
        loads[lane] += sizes[position]
    return dealt
