"""Detects that the compute thread or the tokenize thread makes no progress, and ends the process.

A thread is stuck when one batch takes longer than its limit: see ``time_limit_for``. It is lost after twice that time.
Where the thread also holds the interpreter lock, no Python code runs, this module included; then a timer in C ends the
process (``ExitTimer``).
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from rerank_server.inference.progress import Progress

Verdict: TypeAlias = Literal["healthy", "stuck", "lost"]

TICK = 0.25  # seconds between two checks

_TIMES_LONGEST = 20  # a thread is stuck after this many times the longest recent duration,
_TIMES_LEAST = 5  # but never before this many times of it
_LEAST = 5.0  # seconds; a process that waits for a CPU of a busy machine is not stuck
_TIMES_FIRST = 10  # the limit is multiplied for the first batch, which may compile or read weights
_LONGEST_TICK = 4 * TICK  # after a longer pause, the whole process did not run


def time_limit(limit: float, longest: float | None) -> float:
    """The seconds that a work item may take before its thread counts as stuck.

    ``longest`` is the longest recent duration of work of this size: the result is twenty times as long, and at most
    ``limit``. On a slow machine it is at least five times ``longest``; for the first work item it is ten times
    ``limit``.
    """
    if longest is None:
        return _TIMES_FIRST * limit
    least = min(_LEAST, limit)
    return max(least, min(limit, _TIMES_LONGEST * longest), _TIMES_LEAST * longest)


def time_limit_for(size: int, limit: float, recent: Sequence[tuple[int, float]]) -> float:
    """The seconds that a work item of this size may take, from the sizes and the seconds of ``recent`` ones.

    Where it is larger than any of them, the seconds of the largest are scaled up in proportion: small work takes more
    time per token than large work, so that this is too long rather than too short. It is no longer than for the first
    work item.
    """
    if not recent:
        return time_limit(limit, None)
    longest = max(seconds for _, seconds in recent)
    largest, seconds = max(recent)
    scaled = seconds * max(1.0, size / max(1, largest))
    return max(time_limit(limit, longest), min(time_limit(limit, scaled), time_limit(limit, None)))


class ExitTimer(Protocol):
    """Ends the process after some seconds, unless it is armed again or disarmed before."""

    def arm(self, seconds: float) -> None:
        """End the process in ``seconds``, counted from now."""
        ...

    def disarm(self) -> None:
        """Stop the timer."""
        ...


class NoExitTimer:
    """Does nothing, for an application that must not end its process."""

    def arm(self, seconds: float) -> None:
        """Do nothing."""

    def disarm(self) -> None:
        """Do nothing."""


class ProcessExitTimer:
    """Writes the stacks of all threads to standard error, and ends the process with status 1.

    The timer runs in a thread of C that needs no interpreter lock. It also ends a process that was paused for as long
    in the middle of a batch, when it goes on.
    """

    def arm(self, seconds: float) -> None:
        """End the process in ``seconds``, counted from now."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)

    def disarm(self) -> None:
        """Stop the timer."""
        faulthandler.cancel_dump_traceback_later()


@dataclass(slots=True)
class _Watched:
    progress: Progress
    number: int = -1
    age: float = 0.0
    time_limit: float = 0.0


class Watchdog:
    """Decides at each ``tick`` whether the threads make progress. ``limit``: see ``time_limit``.

    While one of them works, the deadman is armed for twice the limit from the last time that any Python ran here. It
    counts time by its own ticks, so that a process that was paused, or did not get its turn, is not stuck for that.
    """

    def __init__(
        self,
        threads: Mapping[str, Progress],
        *,
        limit: float,
        exit_timer: ExitTimer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._exit_timer = exit_timer or NoExitTimer()
        self._clock = clock
        self._watched = {name: _Watched(progress) for name, progress in threads.items()}
        self._last = clock()
        self._lock = threading.Lock()  # guards the timer: every thread arms it
        self._armed_at: float | None = None
        self.verdict: Verdict = "healthy"
        for progress in threads.values():
            progress.on_begin = self._arm

    @property
    def age(self) -> float:
        """The seconds that the oldest current work item has taken."""
        return max((watched.age for watched in self._watched.values()), default=0.0)

    @property
    def reason(self) -> str:
        """A sentence on the thread that has been stuck longest."""
        name, worst = max(self._watched.items(), key=lambda item: item[1].age - item[1].time_limit)
        return f"the {name} thread has worked on one batch for {worst.age:.0f} s, the limit is {worst.time_limit:.0f} s"

    def tick(self) -> Verdict:
        """Check the threads; to be called at least every few seconds. Returns the verdict, and keeps it."""
        now = self._clock()
        elapsed, self._last = min(now - self._last, _LONGEST_TICK), now
        verdicts: list[Verdict] = ["healthy"]
        for watched in self._watched.values():
            number, size = watched.progress.number, watched.progress.size
            if size is None or number != watched.number:
                watched.age = 0.0
            else:
                watched.age += elapsed
            watched.number = number
            if size is not None:
                watched.time_limit = time_limit_for(size, self._limit, list(watched.progress.recent))
                if watched.age > 2 * watched.time_limit:
                    verdicts.append("lost")
                elif watched.age > watched.time_limit:
                    verdicts.append("stuck")
        if all(watched.progress.size is None for watched in self._watched.values()):
            self.stop()
        else:
            self._arm()
        self.verdict = next(verdict for verdict in ("lost", "stuck", "healthy") if verdict in verdicts)
        return self.verdict

    def stop(self) -> None:
        """Stop the timer: the process is not ended, whatever its threads do."""
        with self._lock:
            if self._armed_at is not None:
                self._armed_at = None
                self._exit_timer.disarm()

    def end_within(self, seconds: float) -> None:
        """End the process in ``seconds``, unless it ends before."""
        with self._lock:
            self._armed_at = float("inf")  # never postponed again
            self._exit_timer.arm(seconds)

    def _arm(self) -> None:
        """Arm the timer while Python runs. It is armed again after a tenth of the limit, not every time."""
        with self._lock:
            now = self._clock()
            if self._armed_at is None or now - self._armed_at > self._limit / 10:
                self._armed_at = now
                self._exit_timer.arm(2 * self._limit)


def stacks() -> str:
    """The stacks of all threads: files, lines and functions, without values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(_stacks(names))


def _stacks(names: Mapping[int | None, str]) -> Iterator[str]:
    for number, frame in sys._current_frames().items():
        yield f"thread {names.get(number, number)}:"
        yield "".join(traceback.format_stack(frame)).rstrip()
