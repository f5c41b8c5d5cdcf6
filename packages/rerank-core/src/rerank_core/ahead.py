"""Doing the next piece of work while the last one is being used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def one_ahead(work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
    """``work`` of each part, in their order; a thread is busy with the next one while the caller uses a result.

    What ``work`` raises is raised here, when its part's turn comes.
    """
    if len(parts) == 1:  # nothing to do meanwhile
        yield work(parts[0])
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        pending: Future[Result] | None = None
        for part in parts:
            done, pending = pending, pool.submit(work, part)
            if done is not None:
                yield done.result()
        if pending is not None:
            yield pending.result()
