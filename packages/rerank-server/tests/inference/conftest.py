"""What the tests of the queue and of its threads have in common."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import pytest

Compute: TypeAlias = Callable[[Any, float], Awaitable[Any]]
Play: TypeAlias = Callable[[Any, Compute, Any, Sequence[tuple[Any, str]]], Awaitable[list[Any]]]


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def without_collection() -> Callable[[], AbstractContextManager[None]]:
    """A context in which what is freed must be freed at once, not by the next collection of garbage."""
    return _without_collection


async def _play(engine: Any, compute: Compute, first: Any, requests: Sequence[tuple[Any, str]]) -> list[Any]:
    async def run(wanted: Any, fate: str) -> Any:
        return await compute(wanted, 0.0 if fate == "is late" else float("inf"))

    def leave(moment: str) -> None:
        for (_, fate), task in zip(requests, tasks, strict=True):
            if fate == moment:
                task.cancel()

    engine.gate.clear()
    engine.started.clear()
    running = asyncio.create_task(run(first, "waits"))
    await asyncio.to_thread(engine.started.wait)
    tasks = [asyncio.create_task(run(*request)) for request in requests]
    await asyncio.sleep(0)
    leave("leaves while the first batch runs")
    await asyncio.sleep(0)
    engine.gate.set()
    await asyncio.wait({running})  # fails where the thread has died by the time it looks
    leave("leaves after it")
    staying = [task for (_, fate), task in zip(requests, tasks, strict=True) if fate == "waits"]
    await asyncio.gather(*staying, return_exceptions=True)
    leave("is late")  # as the one who set the deadline does
    return await asyncio.gather(running, *tasks, return_exceptions=True)


@pytest.fixture(scope="session")
def play() -> Play:
    """Plays requests that come while the batch of a first one runs, and gives the results or errors of all.

    ``engine`` has the gate; ``compute`` computes what a request wants until its deadline. A request ``waits``, ``leaves
    while the first batch runs``, ``leaves after it``, or ``is late``.
    """
    return _play
