"""A circuit breaker around a scorer: while it fails, searches go on without asking it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rerank_core.errors import DeadlineExceeded, Overloaded, RerankError, Unavailable

from rerank_integrations.http.balancer import CircuitBreaker
from rerank_integrations.http.flow import ServerSilent

_SLOW = 3  # calls in a row that a scorer which lives has no time or no room for before it counts as failed


@dataclass(slots=True)
class Circuit:
    """Open for some seconds after a failure; then a single call tries the scorer, until one succeeds.

    A scorer that cannot be reached, or says nothing, opens it at once. One that lives, but has no time or no room for a
    call, may have both for the next: the third such call in a row opens it. Other errors come quickly and cost no
    retries, so they close it. Threads may share one. Times are seconds of the caller's clock.
    """

    _breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    _calls: int = 0  # in hand
    _slow: int = 0  # in a row
    _last: Unavailable | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)  # never held while waiting: event loops take it too

    @contextmanager
    def call(self, now: float) -> Iterator[None]:
        """Make a call of the scorer in the block. Raises ``Unavailable`` instead where the circuit is open."""
        with self._lock:
            if self._last is not None and self._breaker.is_open(now, self._calls):
                # A new one: an error that is raised keeps the documents of its call.
                raise type(self._last)(str(self._last))
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    def succeeded(self) -> None:
        """Note that the scorer answered: the circuit closes."""
        with self._lock:
            self._breaker.succeeded()
            self._slow = 0
            self._last = None

    def failed(self, error: RerankError, now: float) -> None:
        """Note a failure of a call, which opens the circuit, or does not: see above."""
        if not isinstance(error, Unavailable):
            self.succeeded()
            return
        with self._lock:
            if isinstance(error, Overloaded | DeadlineExceeded) and not isinstance(error, ServerSilent):
                self._slow += 1
                if self._slow < _SLOW and self._last is None:
                    return
            if now >= self._breaker.open_until:  # calls that were under way when it opened make it no longer
                self._breaker.failed(now, error.retry_after)
                self._last = type(error)(str(error))
