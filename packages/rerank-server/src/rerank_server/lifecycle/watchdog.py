"""Notices that the compute thread or the tokenize thread makes no progress, and ends a process that is lost.

A thread is stuck when one batch, or one part of a tokenisation, takes too long: see ``patience``. It is lost at twice
that time. Where the thread also holds the interpreter's lock nothing of Python runs, this module included; then a
timer in C ends the process (``Deadman``).
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from rerank_server.inference.progress import Progress

Verdict: TypeAlias = Literal["fine", "stuck", "lost"]

TICK = 0.25  # seconds between two looks

_TIMES_LONGEST = 20  # the longest of late, and it is stuck
_TIMES_LEAST = 5  # never before that many times the longest of late
_LEAST = 5.0  # seconds; a process that waits for its turn on a busy machine is not stuck
_TIMES_FIRST = 10  # the limit, for the first batch, which may compile or read weights
_LONGEST_TICK = 4 * TICK  # a tick that comes later than that: the whole process did not run


def patience(limit: float, longest: float | None) -> float:
    """Seconds that one piece of work may take before its thread counts as stuck.

    ``longest`` is what work of its size took at most of late: twenty times that, and ``limit`` at most. A machine on
    which it takes long has five times the longest in any case, and the first piece of work ten times the limit.
    """
    if longest is None:
        return _TIMES_FIRST * limit
    least = min(_LEAST, limit)
    return max(least, min(limit, _TIMES_LONGEST * longest), _TIMES_LEAST * longest)


class Deadman(Protocol):
    """Ends the process after some seconds, unless it is told to wait longer or is disarmed."""

    def arm(self, seconds: float) -> None:
        """End the process in ``seconds``, instead of when it was told before."""
        ...

    def disarm(self) -> None:
        """Do not end the process."""
        ...


class NoDeadman:
    """For an application in a process that is not its own to end."""

    def arm(self, seconds: float) -> None:
        """Do nothing."""

    def disarm(self) -> None:
        """Do nothing."""


class ExitTimer:
    """Writes the stack of all threads to standard error and ends the process with status 1.

    It runs in a thread of C that needs no interpreter lock. A process that was paused for as long, in the middle of a
    batch, is ended as well when it goes on.
    """

    def arm(self, seconds: float) -> None:
        """End the process in ``seconds``, instead of when it was told before."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)

    def disarm(self) -> None:
        """Do not end the process."""
        faulthandler.cancel_dump_traceback_later()


@dataclass(slots=True)
class _Watched:
    progress: Progress
    number: int = -1
    age: float = 0.0
    patience: float = 0.0


class Watchdog:
    """Decides how threads are, from what it sees at each ``tick``. ``limit``: see ``patience``.

    While one of them works, the deadman is armed for twice the limit from the last time that any Python ran here. It
    counts time by its own ticks, so that a process that was paused, or did not get its turn, is not stuck for that.
    """

    def __init__(
        self,
        threads: Mapping[str, Progress],
        *,
        limit: float,
        deadman: Deadman | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._deadman = deadman or NoDeadman()
        self._clock = clock
        self._watched = {name: _Watched(progress) for name, progress in threads.items()}
        self._last = clock()
        self._lock = threading.Lock()  # guards the deadman: every thread arms it
        self._armed_at: float | None = None
        self.verdict: Verdict = "fine"
        for progress in threads.values():
            progress.on_begin = self._arm

    @property
    def age(self) -> float:
        """Seconds that the oldest work in progress has taken."""
        return max((watched.age for watched in self._watched.values()), default=0.0)

    @property
    def reason(self) -> str:
        """Which thread is the worst, and since when."""
        name, worst = max(self._watched.items(), key=lambda item: item[1].age - item[1].patience)
        return f"the {name} thread has been at one piece of work for {worst.age:.0f} s, {worst.patience:.0f} s at most"

    def tick(self) -> Verdict:
        """Look at the threads, at least every few seconds. Gives the verdict, which ``verdict`` keeps."""
        now = self._clock()
        elapsed, self._last = min(now - self._last, _LONGEST_TICK), now
        verdicts: list[Verdict] = ["fine"]
        for watched in self._watched.values():
            number, size = watched.progress.number, watched.progress.size
            if size is None or number != watched.number:
                watched.age = 0.0
            else:
                watched.age += elapsed
            watched.number = number
            if size is not None:
                watched.patience = patience(self._limit, watched.progress.longest(size))
                if watched.age > 2 * watched.patience:
                    verdicts.append("lost")
                elif watched.age > watched.patience:
                    verdicts.append("stuck")
        if all(watched.progress.size is None for watched in self._watched.values()):
            self.stop()
        else:
            self._arm()
        self.verdict = next(verdict for verdict in ("lost", "stuck", "fine") if verdict in verdicts)
        return self.verdict

    def stop(self) -> None:
        """Let the process live, whatever its threads do."""
        with self._lock:
            if self._armed_at is not None:
                self._armed_at = None
                self._deadman.disarm()

    def end_within(self, seconds: float) -> None:
        """End the process in ``seconds``, if it does not end before."""
        with self._lock:
            self._armed_at = float("inf")  # never again postponed
            self._deadman.arm(seconds)

    def _arm(self) -> None:
        """Python runs now, and perhaps not in a moment. The timer is set anew now and then, not every time."""
        with self._lock:
            now = self._clock()
            if self._armed_at is None or now - self._armed_at > self._limit / 10:
                self._armed_at = now
                self._deadman.arm(2 * self._limit)


def stacks() -> str:
    """Where every thread is: files, lines and functions, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(_stacks(names))


def _stacks(names: Mapping[int | None, str]) -> Iterator[str]:
    for number, frame in sys._current_frames().items():
        yield f"thread {names.get(number, number)}:"
        yield "".join(traceback.format_stack(frame)).rstrip()
