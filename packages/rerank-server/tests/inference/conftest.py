"""What the tests of the queue and of its threads have in common."""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def without_collection() -> Callable[[], AbstractContextManager[None]]:
    """A context in which what is freed must be freed at once, not by the next collection of garbage."""
    return _without_collection
