"""One value for each process, so that a forked process shares neither locks nor connections with its parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


def _this_process() -> tuple[int, int]:
    """Identify the process: by its id, as not every fork tells Python, and by a count, as ids come again."""
    return os.getpid(), _forks


class PerProcess(Generic[_Value]):
    """A value that each process makes for itself when it first asks for it. Threads may share one.

    There is no lock, which another thread may have held at the moment of the fork: two threads may each make a value,
    and one of the two is kept. Values of the parent are kept too, so that nothing finalizes them here.
    """

    def __init__(self, make: Callable[[], _Value]) -> None:
        self._make = make
        self._values: dict[tuple[int, int], _Value] = {}

    def get(self) -> _Value:
        """Return this process's value."""
        process = _this_process()
        value = self._values.get(process)
        return self._values.setdefault(process, self._make()) if value is None else value

    def inherited(self) -> list[_Value]:
        """Return the values of the processes that this one was forked from."""
        process = _this_process()
        return [value for key, value in list(self._values.items()) if key != process]
