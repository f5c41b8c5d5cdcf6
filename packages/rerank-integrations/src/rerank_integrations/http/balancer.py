"""Chooses the server of the next request: the one with the fewest requests in hand, behind a circuit breaker each."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_OPEN_SECONDS = 3.0  # that a server is left out after a failure; each further one in a row doubles them
_MOST_OPEN_SECONDS = 30.0
_ALIVE_SECONDS = 0.5  # for which a sign of life stands
_OUTRUN = 3  # times in a row that a server loses against a second one before it counts as failed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server.

    ``url`` is its address without the password, which is in ``given``, the address as it came, and ``authorization``,
    the header; neither is shown.
    """

    url: str
    given: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class CircuitBreaker:
    """Open after a failure, for some time; then half-open, for a single request, until one is answered."""

    failures: int = 0  # in a row
    open_until: float = 0.0

    def is_open(self, now: float, outstanding: int) -> bool:
        """Return whether other servers go first. A lost server holds up only the single request that tries it."""
        return self.failures > 0 and (now < self.open_until or outstanding > 0)

    def failed(self, now: float, retry_after: float | None) -> bool:
        """Open. Return whether it was closed: whether this is the first failure in a row."""
        self.failures += 1
        seconds = _OPEN_SECONDS * 2.0 ** min(self.failures - 1, 10) if retry_after is None else retry_after
        self.open_until = now + min(seconds, _MOST_OPEN_SECONDS)
        return self.failures == 1

    def succeeded(self) -> None:
        """Close."""
        self.failures = 0
        self.open_until = 0.0


@dataclass(slots=True)
class _Server:
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    outstanding: int = 0  # requests
    turn: int = 0  # when it was last chosen, counted in requests
    outrun: int = 0  # times in a row
    alive_at: float = -math.inf


class Balancer:
    """Knows how many requests each server has in hand, and which have failed of late. Threads may share one.

    Times are seconds of the caller's clock.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._servers = {endpoint: _Server() for endpoint in endpoints}
        self._lock = threading.Lock()  # never held while waiting: event loops take it too
        self._turns = 0

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._servers)

    def __len__(self) -> int:
        return len(self._servers)

    @contextmanager
    def acquire(self, among: Collection[Endpoint], now: float) -> Iterator[Endpoint]:
        """Give the one with the fewest requests in hand, which has one more until the block ends; ties go in turn.

        One whose circuit breaker is open comes last, yet it comes.
        """
        with self._lock:
            endpoint = min(among, key=lambda one: self._preference(self._servers[one], now))
            server = self._servers[endpoint]
            self._turns += 1
            server.turn = self._turns
            server.outstanding += 1
        try:
            yield endpoint
        finally:
            with self._lock:
                server.outstanding -= 1

    def answered(self, endpoint: Endpoint, now: float) -> None:
        """Note that a server answered: its circuit breaker closes."""
        with self._lock:
            server = self._servers[endpoint]
            server.breaker.succeeded()
            server.outrun = 0
            server.alive_at = now

    def is_alive(self, endpoint: Endpoint, now: float) -> None:
        """Note a sign of life that is no answer to a request."""
        with self._lock:
            self._servers[endpoint].alive_at = now

    def was_alive(self, endpoint: Endpoint, now: float) -> bool:
        """Return whether it gave a sign of life a moment before ``now``, or later."""
        return now - self._servers[endpoint].alive_at < _ALIVE_SECONDS

    def outrun(self, endpoint: Endpoint, now: float) -> bool:
        """Note that another server answered first. Several times in a row are a failure: True for the first."""
        with self._lock:
            server = self._servers[endpoint]
            server.outrun += 1
            has_failed = server.outrun >= _OUTRUN
        return has_failed and self.failed(endpoint, now, None)

    def failed(self, endpoint: Endpoint, now: float, retry_after: float | None) -> bool:
        """Note that it could not be reached, or has no room: its circuit breaker opens. True for the first in a row."""
        with self._lock:
            return self._servers[endpoint].breaker.failed(now, retry_after)

    def outstanding(self, endpoint: Endpoint) -> int:
        """Return how many requests it has in hand."""
        return self._servers[endpoint].outstanding

    @staticmethod
    def _preference(server: _Server, now: float) -> tuple[bool, int, int]:
        return server.breaker.is_open(now, server.outstanding), server.outstanding, server.turn
