"""Keeps threads and locks safe beside a fork and the end of the process.

After a fork the child has no thread but the one that forked, and a lock that another thread held stays locked for ever.
So threads and locks belong to one process, and each process makes its own. A fork also copies whatever a library was
about to change, and the end of the interpreter kills daemon threads wherever they are: both wait until nothing runs.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

Value = TypeVar("Value")
Process: TypeAlias = tuple[int, int]

_TIMEOUT = 30.0  # seconds that a fork and the end wait at most; a batch takes one or two

_forks = 0  # between the first process and this one


def current_process() -> Process:
    """Identify the process, also from one that got the same number later.

    Not only what ``os.register_at_fork`` says: a server that forks in C does not always run its functions (uWSGI).
    """
    return os.getpid(), _forks


class PerProcess(Generic[Value]):
    """A value that each process makes for itself when it first asks."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._values: dict[Process, Value] = {}

    def get(self) -> Value:
        """Return the value of the current process."""
        process = current_process()
        if process not in self._values:
            # Of two threads that both make one, both get the first: setdefault is one step.
            self._values.setdefault(process, self._make())
        return self._values[process]

    def inherited(self) -> list[Value]:
        """Return the values of the processes that this one was forked from, kept so that nothing finalizes them."""
        process = current_process()
        return [value for key, value in list(self._values.items()) if key != process]


class _Gate:
    """Counts the threads that are inside, and may be closed by one thread to all others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}  # how often, by thread
        self._owner: int | None = None
        self._closed = 0  # how often, by the owner

    def enter(self) -> None:
        me = _me()
        with self._changed:
            while me not in self._inside and self._owner not in (None, me):
                self._changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def leave(self) -> None:
        me = _me()
        with self._changed:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody else in, and wait until all others are out, as long as that is worth it."""
        me = _me()
        with self._changed:
            while self._owner not in (None, me):
                self._changed.wait()
            self._owner = me
            self._closed += 1
            self._changed.wait_for(lambda: self._inside.keys() <= {me}, timeout=_TIMEOUT)

    def open(self) -> None:
        with self._changed:
            self._closed -= 1
            if not self._closed:
                self._owner = None
                self._changed.notify_all()


_gate = PerProcess(_Gate)
_works_for = threading.local()  # its thread: another one's ident


def _me() -> int:
    ident: int = getattr(_works_for, "thread", threading.get_ident())
    return ident


def start_helper(work: Callable[[], object], name: str) -> None:
    """Run work in a new thread for this one: it may run wherever this one may, which will wait for it.

    Raises ``RuntimeError`` where there can be no more threads.
    """
    principal = _me()

    def run() -> None:
        _works_for.thread = principal
        work()

    threading.Thread(target=run, name=name).start()


@contextmanager
def running() -> Iterator[None]:
    """Keep forks, and the end of the process, waiting while foreign code runs, in this thread or for it."""
    gate = _gate.get()
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(
    before=lambda: _gate.get().close(), after_in_parent=lambda: _gate.get().open(), after_in_child=_count_fork
)
# From then on only the thread that ends the interpreter comes in, such as a function that was registered earlier.
atexit.register(lambda: _gate.get().close())
