"""A timer that can be started, started again and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls ``callback`` once, some seconds after the last start."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        """Whether the timer runs."""
        return self._handle is not None

    def start(self, seconds: float) -> None:
        """Start, or start again from now."""
        self.stop()
        self._handle = self._loop.call_later(seconds, self._fire)

    def stop(self) -> None:
        """Cancel the call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()
