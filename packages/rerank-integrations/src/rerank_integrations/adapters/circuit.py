"""A circuit breaker around a scorer: while it fails, searches go on without asking it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rerank_core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    RerankError,
    Unavailable,
    error_class,
)

from rerank_integrations.http.balancer import CircuitBreaker
from rerank_integrations.http.flow import ServerSilent

_SLOW = 3  # calls in a row that a scorer which lives has no time or no room for before it counts as failed


@dataclass(slots=True)
class Circuit:
    """Open for some seconds after a failure; then a single call tries the scorer, until one succeeds.

    A scorer that cannot be reached, or says nothing, opens it at once. One that lives, but has no time or no room for a
    call, may have both for the next: the third such call in a row opens it. A request that is wrong says nothing of the
    scorer; other errors come quickly and cost no retries, so they close it. Threads may share one. Times are seconds of
    the caller's clock.
    """

    _breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    _probes: int = 0  # calls in hand that were let through since it opened
    _slow: int = 0  # in a row
    _last: Unavailable | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)  # never held while waiting: event loops take it too

    @contextmanager
    def call(self, now: float) -> Iterator[None]:
        """Make a call of the scorer in the block. Raises ``Unavailable`` instead where the circuit is open."""
        with self._lock:
            is_probe = self._last is not None
            if self._last is not None and self._breaker.is_open(now, self._probes):
                raise _copy(self._last)
            self._probes += is_probe
        try:
            yield
        finally:
            with self._lock:
                self._probes -= is_probe

    def succeeded(self) -> None:
        """Note that the scorer answered: the circuit closes."""
        with self._lock:
            self._breaker.succeeded()
            self._slow = 0
            self._last = None

    def failed(self, error: RerankError, now: float) -> None:
        """Note a failure of a call, which opens the circuit, or does not: see above."""
        if isinstance(error, InvalidRequest):
            return
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
                self._last = _copy(error)


def _copy(error: Unavailable) -> Unavailable:
    """Make an error that says the same: one that was raised keeps the documents of its call.

    It is of a class of core's own. A caller's class may want other arguments than a message.
    """
    kind = error_class(error.code)
    return kind(str(error)) if kind is not None and issubclass(kind, Unavailable) else Unavailable(str(error))
