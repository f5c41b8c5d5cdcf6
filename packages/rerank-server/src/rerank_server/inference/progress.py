"""The progress of a worker thread, for the watchdog and for forecasts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_RECENT = 64  # work items


class Progress:
    """Written by one worker thread, read by others.

    ``number`` counts the work items that were begun, ``size`` is the size of the current one (None: idle), and
    ``recent`` has the size and the seconds of the last ones that ended.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_begin: Callable[[], None] | None = None,
    ) -> None:
        self._clock = clock
        self.on_begin = on_begin
        self.number = 0
        self.size: int | None = None
        self.began = 0.0
        self.recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    @contextmanager
    def working(self, size: int) -> Iterator[None]:
        """Mark a work item as in progress, until the end of the context."""
        if self.on_begin is not None:
            self.on_begin()
        self.began = self._clock()
        self.number += 1
        self.size = size
        try:
            yield
        finally:
            self.recent.append((size, self._clock() - self.began))
            self.size = None

    @property
    def elapsed(self) -> float:
        """Seconds since the current work item began, 0 while idle."""
        return 0.0 if self.size is None else max(0.0, self._clock() - self.began)
