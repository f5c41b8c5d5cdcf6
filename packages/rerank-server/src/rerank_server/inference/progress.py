"""What a worker thread is doing, for those who watch it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_OF_LATE = 64


class Progress:
    """Written by one worker thread, read by others.

    ``number`` counts what was begun, ``size`` is that of the work in progress (None: idle), and ``recent`` holds size
    and seconds of what was finished of late.
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
        self.recent: deque[tuple[int, float]] = deque(maxlen=_OF_LATE)

    @contextmanager
    def working(self, size: int) -> Iterator[None]:
        """Say that a piece of work is in progress."""
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
        """Seconds since the work in progress began, 0 where there is none."""
        return 0.0 if self.size is None else max(0.0, self._clock() - self.began)

    def longest(self, size: int) -> float | None:
        """Seconds that work of this size took at most of late, None before there was any.

        Work that is larger than what was measured may take as much longer as it is larger.
        """
        recent = list(self.recent)
        return max((seconds * max(1.0, size / max(1, measured)) for measured, seconds in recent), default=None)
