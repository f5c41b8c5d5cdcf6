"""Worker threads: each computes whole sequences alone, with one thread of torch's.

A product that several threads share in a library is split differently for different numbers of threads and rows, and
its last bits with it. Here no two workers share such a product, so a score does not depend on how many workers there
are. Where each number's bits are the same however the work is divided, a worker does it with the help of those that
have nothing to do: ``in_pieces``.

Nor does it depend on what the caller has set for its own thread: autocast, a default device, the modes of torch. A
worker is nobody else's thread. After a fork the child has none of them, nor the threads that OpenMP had for its parent,
so it makes its own.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

import torch

from rerank_core.engines.torch_settings import our_settings
from rerank_core.forking import PerProcess, start_helper

Work = TypeVar("Work")
Result = TypeVar("Result")
_Call: TypeAlias = Callable[[], None]

_LEAST_PIECE = 200  # microseconds: a worker that waits begins after about a hundred
_PIECES = 4  # for each worker: who began late, or is slower, does fewer

_CURRENT = threading.local()  # ``calls``: of the pool that the asking thread works for


def in_pieces(work: Callable[[int, int], None], size: int, unit: int, microseconds: float) -> None:
    """Call ``work`` with bounds that divide ``range(size)``, at once in this worker and in those that are idle.

    ``unit``: each piece but the last is a multiple of it. ``microseconds`` are what the whole takes one worker, about;
    what is short stays in one piece. Returns when all is done. The bits of what ``work`` computes must not depend on
    the bounds.
    """
    calls: _Calls | None = getattr(_CURRENT, "calls", None)
    units = -(-size // unit)
    most = min(units, int(microseconds / _LEAST_PIECE))
    helpers = 0 if calls is None else min(len(calls.idle), most - 1)
    if calls is None or helpers < 1:
        work(0, size)
        return
    count = (1 + helpers) * min(most // (1 + helpers), _PIECES)
    places = [min(units * number // count * unit, size) for number in range(count + 1)]
    left = deque(pairwise(places))

    def take_what_is_left(_: int = 0) -> None:
        while True:
            try:
                bounds = left.popleft()
            except IndexError:  # others have taken it
                return
            work(*bounds)

    given = [calls.submit(take_what_is_left, number) for number in range(helpers)]
    try:
        take_what_is_left()
    finally:
        # Those that have not begun are not waited for: a worker that was idle may have found something else to do, or
        # want help itself.
        given = [future for future in given if not future.cancel()]
        wait(given)
    while given:  # each is let go before it may raise, see ``_run``
        given.pop().result()


class WorkerPool:
    """``count`` threads, in each of which torch computes with ``threads`` threads."""

    def __init__(self, count: int, warm_up: Callable[[], object], *, threads: int = 1) -> None:
        """``warm_up`` is run once in each worker, one after another, before any of them computes beside another.

        MKL sets itself up in the first calls of a process. Where two threads made these at once, one score in a
        hundred fresh processes was off by 1e-4.
        """
        self._workers = PerProcess(lambda: _Workers(count, warm_up, threads))
        self._workers.get()

    def map(self, work: Callable[[Work], Result], parts: Sequence[Work]) -> list[Result]:
        """Return the result of every part, in their order."""
        return self._workers.get().map(work, parts)


class _Workers:
    """The workers of one process. Their threads end with this object, and never keep the process from ending.

    Not a ``ThreadPoolExecutor``: that takes no more work once the main thread has ended, though others go on.
    """

    def __init__(self, count: int, warm_up: Callable[[], object], threads: int) -> None:
        self._calls = _Calls()
        weakref.finalize(self, self._calls.end, count).atexit = False
        for number in range(count):
            threading.Thread(target=self._calls.serve, name=f"worker_{number}", daemon=True).start()
        everybody, one_by_one = threading.Barrier(count), threading.Lock()

        def begin(_: int) -> int:
            common = torch.get_num_threads()  # what a thread takes over when first asked: before it gets its own
            everybody.wait()  # so that each of these runs in a thread of its own, and sees the same number
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)  # a new thread takes this over from the one that starts it
            with one_by_one:
                warm_up()
            return common

        # torch also keeps the number for threads to come, which the workers have just set.
        common = self.map(begin, range(count))[0]
        restore = threading.Thread(target=torch.set_num_threads, args=[common])  # for itself, and for those to come
        restore.start()
        restore.join()

    def map(self, work: Callable[[Work], Result], parts: Sequence[Work]) -> list[Result]:
        with our_settings():
            futures = [self._calls.submit(work, part) for part in parts]
            try:
                wait(futures)
                results = []
                while futures:  # each is let go before it may raise, see ``_run``
                    results.append(futures.pop(0).result())
                return results
            finally:
                # After an interrupt: the settings stay ours until nothing computes any more.
                wait([future for future in futures if not future.cancel()])
                futures.clear()


class _Calls:
    """Calls that the threads of a pool wait for, and which of these have nothing to do."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self.idle: set[int] = set()  # threads that wait for a call, or are about to take one

    def submit(self, work: Callable[[Work], Result], part: Work) -> Future[Result]:
        """Let a thread do it as soon as one is free."""
        future: Future[Result] = Future()
        self._queue.put(partial(_run, future, work, part))
        return future

    def serve(self) -> None:
        """Do what is submitted, until the end."""
        _CURRENT.calls, me = self, threading.get_ident()
        while True:
            self.idle.add(me)
            call = self._queue.get()
            self.idle.discard(me)
            if call is None:
                return
            call()
            del call  # and what it holds, while there is nothing to do

    def end(self, count: int) -> None:
        """Let so many threads end."""
        for _ in range(count):
            self._queue.put(None)


def _run(future: Future[Result], work: Callable[[Work], Result], part: Work) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work(part)
    except BaseException as error:
        future.set_exception(error)
        # The error's traceback holds this frame. Were the future in it, the error, and whatever memory its frames hold,
        # would stay until the next collection of garbage.
        del future
    else:
        future.set_result(result)


def in_own_thread(work: Callable[[], Result]) -> Result:
    """Return the result of ``work``, done in a thread with none of its caller's settings, as in a worker."""
    future: Future[Result] = Future()

    def with_our_settings(_: None) -> Result:
        torch.set_flush_denormal(False)
        with our_settings():
            return work()

    start_helper(partial(_run, future, with_our_settings, None), "load")
    try:
        return future.result()
    finally:
        del future  # or its error would hold it, through this frame


def balanced(sizes: Sequence[int], workers: int) -> list[list[int]]:
    """Deal positions to workers, longest first and each to the worker with the least so far; no worker is empty."""
    loads = [0] * min(workers, len(sizes))
    dealt: list[list[int]] = [[] for _ in loads]
    for position in sorted(range(len(sizes)), key=lambda position: -sizes[position]):
        worker = loads.index(min(loads))
        dealt[worker].append(position)
        loads[worker] += sizes[position]
    return dealt
