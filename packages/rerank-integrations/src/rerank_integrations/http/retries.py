"""Retries: whether to ask again after a failure, which server, and when. Pure: nothing here waits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeGuard

from rerank_core.errors import DeadlineExceeded, RerankError, Unavailable

from rerank_integrations.http.balancer import Endpoint

_FIRST = 0.5  # seconds; the bound of the first pause, which doubles with each further one
_LONGEST = 8.0
_LONGEST_RETRY_AFTER = 600.0  # more than our server ever says
_SPREAD = 0.1  # of a server's Retry-After, so that those whom it told the same do not come back as one


def may_succeed_later(error: RerankError) -> TypeGuard[Unavailable]:
    """Return whether to ask again: scoring changes nothing, so a request that may have been answered is made again too.

    Not where a request's time ran out: the same work would take as long again.
    """
    return isinstance(error, Unavailable) and not isinstance(error, DeadlineExceeded)


def pause(failures: int, retry_after: float | None, chance: float) -> float:
    """Return the seconds before a server that failed so often is asked again: its own, else any up to a bound.

    ``chance`` is in [0, 1).
    """
    if retry_after is not None:
        return retry_after * (1 + _SPREAD * chance)
    return chance * min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 10))


@dataclass(slots=True)
class _Turn:
    due: float
    failures: int = 0


class Attempts:
    """The attempts of one request: each server is asked once, and ``max_retries`` times again, each at its own time."""

    def __init__(self, endpoints: Collection[Endpoint], max_retries: int, now: float) -> None:
        self._turns = {endpoint: _Turn(now) for endpoint in endpoints}
        self._max_retries = max_retries
        self.made = 0

    def ready(self, now: float) -> list[Endpoint]:
        """List the servers that may be asked at once."""
        return [endpoint for endpoint, turn in self._turns.items() if turn.due <= now]

    def failed(self, endpoint: Endpoint, retry_after: float | None, now: float, chance: float) -> None:
        """Note a failure that may be over later."""
        self.made += 1
        turn = self._turns[endpoint]
        turn.failures += 1
        if turn.failures > self._max_retries or (retry_after or 0) > _LONGEST_RETRY_AFTER:
            del self._turns[endpoint]
        else:
            turn.due = now + pause(turn.failures, retry_after, chance)

    def give_up(self, endpoint: Endpoint) -> None:
        """Note a failure that will not be over later: this server is not asked again."""
        self.made += 1
        del self._turns[endpoint]

    def wait(self, now: float) -> float | None:
        """Return the seconds until a server may be asked, 0 for at once; None: none is left to ask."""
        if not self._turns:
            return None
        return max(0.0, min(turn.due for turn in self._turns.values()) - now)
