"""Runs work in threads without an executor: Python's executors take no work once the main thread has ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def run_in_thread(work: Callable[[], _Result]) -> _Result:
    """Do the work in another thread, without holding the event loop; with this task's context variables."""
    loop = asyncio.get_running_loop()
    in_context = partial(contextvars.copy_context().run, work)
    try:
        done = loop.run_in_executor(None, in_context)
    except RuntimeError:  # the loop's own threads take no work any more
        done = _in_new_thread(loop, in_context)
    return await done


def _in_new_thread(loop: asyncio.AbstractEventLoop, work: Callable[[], _Result]) -> asyncio.Future[_Result]:
    future: concurrent.futures.Future[_Result] = concurrent.futures.Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # delivered to whoever waits
            future.set_exception(error)

    threading.Thread(target=run).start()
    return asyncio.wrap_future(future, loop=loop)


def map_in_threads(work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> list[_Result]:
    """Do the work for every item, in so many threads at most, and return the results in the items' order.

    After an error no more work is begun; the first error is raised once the threads have ended.
    """
    results: dict[int, _Result] = {}
    errors: list[BaseException] = []
    waiting = iter(enumerate(items))
    lock = threading.Lock()

    def run() -> None:
        while not errors:
            with lock:
                index, item = next(waiting, (None, None))
            if index is None:
                return
            try:
                results[index] = work(item)  # type: ignore[arg-type]
            except BaseException as error:  # raised in the caller's thread
                errors.append(error)

    workers = [threading.Thread(target=run) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
