"""Measures the memory that this process has for itself."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_INTERVAL = 0.02  # seconds between two looks
_STATUS = Path("/proc/self/status")


def own_memory() -> int | None:
    """Return the bytes of this process alone (Linux's RssAnon: no mapped files); None where nothing counts them."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


class PeakMemory:
    """Keeps the most memory that was seen inside a ``with``, by a thread that looks many times a second.

    Where the system does not count a process's own memory, it is the most the process ever had, mapped files included.
    """

    def __init__(self) -> None:
        self._most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if own_memory() is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()

    def bytes(self) -> int | None:
        """Return the most bytes until now; None on a system that tells nothing."""
        now = own_memory()
        if now is None:
            return _most_ever()
        self._most = max(self._most, now)
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            self.bytes()


def _most_ever() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
