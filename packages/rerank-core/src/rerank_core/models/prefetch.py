"""Doing the next piece of work while the last one is being used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from rerank_core.forking import start_helper

Part = TypeVar("Part")
Result = TypeVar("Result")


def one_ahead(work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
    """``work`` of each part, in their order; a thread is busy with the next one while the caller uses a result.

    What ``work`` raises is raised here, when its part's turn comes.
    """
    if not parts:
        return
    result = work(parts[0])
    for part in parts[1:]:
        following = _start(work, part)
        try:
            yield result
        finally:
            wait([following])
        result = following.result()
    yield result


def _start(work: Callable[[Part], Result], part: Part) -> Future[Result]:
    """Run it in a thread of its own; here, where there can be no more threads.

    Not in a pool: that is for good shut down once the main thread has ended, though others go on.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work(part))
        except BaseException as error:
            future.set_exception(error)

    try:
        start_helper(run, "prefetch")
    except RuntimeError:  # the interpreter is about to end, or the system has no more
        run()
    return future
