"""Prefetching: a thread computes the next result while the caller uses the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from rerank_core.forking import start_helper

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``work`` of each item, in their order; a thread computes the next one while the caller uses a result.

    What ``work`` raises is raised here, when its item's turn comes.
    """
    if not items:
        return
    result = work(items[0])
    for item in items[1:]:
        following = _start(work, item)
        try:
            yield result
        finally:
            wait([following])
        result = following.result()
    yield result


def _start(work: Callable[[Item], Result], item: Item) -> Future[Result]:
    """Run ``work`` in a new thread; in the caller's own where no thread can be started.

    Not in a pool: that is for good shut down once the main thread has ended, though others go on.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work(item))
        except BaseException as error:
            future.set_exception(error)

    try:
        start_helper(run, "prefetch")
    except RuntimeError:  # the interpreter is about to end, or the system has no more
        run()
    return future
