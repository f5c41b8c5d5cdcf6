"""The servers that one client may ask, and which of them to ask next."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_REST = 3.0  # seconds that a server is left out after a failure; each further one in a row doubles it
_LONGEST_REST = 30.0
_LIFE_HOLDS = 0.5  # seconds for which a sign of life stands
_OUTRUN = 3  # times in a row that a server loses against a second one before it counts as failed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is.

    ``url`` is its address without the password, which is in ``given``, the address as it came, and ``authorization``,
    the header; neither is shown.
    """

    url: str
    given: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class _State:
    outstanding: int = 0
    turn: int = 0  # when it was last taken, counted in requests
    failures: int = 0  # in a row
    rests_until: float = 0.0
    outrun: int = 0  # times in a row
    lived_at: float = -math.inf

    def is_avoided(self, now: float) -> bool:
        """One that failed is first asked by a single request, so that a lost server holds up only that one."""
        return self.failures > 0 and (now < self.rests_until or self.outstanding > 0)


class Endpoints:
    """Knows how many requests each server has in hand, and which have failed of late. Threads may share one.

    Times are seconds of the caller's clock.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._states = {endpoint: _State() for endpoint in endpoints}
        self._lock = threading.Lock()  # never held while waiting: event loops take it too
        self._turns = 0

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    @contextmanager
    def taken(self, among: Collection[Endpoint], now: float) -> Iterator[Endpoint]:
        """The one with the fewest requests in hand, which has one more until the block ends; ties go in turn.

        One that failed and still rests comes last, yet it comes.
        """
        with self._lock:
            endpoint = min(among, key=lambda one: self._preference(self._states[one], now))
            state = self._states[endpoint]
            self._turns += 1
            state.turn = self._turns
            state.outstanding += 1
        try:
            yield endpoint
        finally:
            with self._lock:
                state.outstanding -= 1

    def answered(self, endpoint: Endpoint, now: float) -> None:
        """It works."""
        with self._lock:
            state = self._states[endpoint]
            state.failures = state.outrun = 0
            state.lived_at = now

    def lives(self, endpoint: Endpoint, now: float) -> None:
        """It gave a sign of life, though no answer to a request."""
        with self._lock:
            self._states[endpoint].lived_at = now

    def has_lived(self, endpoint: Endpoint, now: float) -> bool:
        """Whether it gave a sign of life a moment ago."""
        return now - self._states[endpoint].lived_at < _LIFE_HOLDS

    def outrun(self, endpoint: Endpoint, now: float) -> bool:
        """Another server answered before it did. Several times in a row are a failure: True for the first such."""
        with self._lock:
            state = self._states[endpoint]
            state.outrun += 1
            has_failed = state.outrun >= _OUTRUN
        return has_failed and self.failed(endpoint, now, None)

    def failed(self, endpoint: Endpoint, now: float, retry_after: float | None) -> bool:
        """It could not be reached, or has no room: others are asked first for a while. True for the first time."""
        with self._lock:
            state = self._states[endpoint]
            state.failures += 1
            rest = _REST * 2.0 ** min(state.failures - 1, 10) if retry_after is None else retry_after
            state.rests_until = now + min(rest, _LONGEST_REST)
            return state.failures == 1

    def outstanding(self, endpoint: Endpoint) -> int:
        """How many requests it has in hand."""
        return self._states[endpoint].outstanding

    @staticmethod
    def _preference(state: _State, now: float) -> tuple[bool, int, int]:
        return state.is_avoided(now), state.outstanding, state.turn
