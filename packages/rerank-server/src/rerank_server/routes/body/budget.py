"""A budget of the bytes of request bodies that are being received or decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rerank_core.errors import Overloaded

SMALL = 64 * 1024  # bytes: the transport holds as much of every request anyway, so these are never refused
_RETRY = 1.0  # seconds


class BodyBudget:
    """At most ``limit`` bytes of bodies at once; whoever asks for more is refused, and nobody waits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    @contextmanager
    def reserve(self) -> Iterator[BodyReservation]:
        """The bytes of one body, none at first, given back at the end."""
        reservation = BodyReservation(self)
        try:
            yield reservation
        finally:
            self.bytes -= reservation.bytes
            reservation.bytes = 0


@dataclass(slots=True, eq=False)
class BodyReservation:
    """The bytes that one body has of the budget."""

    budget: BodyBudget
    bytes: int = 0

    def grow_to(self, size: int) -> None:
        """Reserve ``size`` bytes in all. Raises ``Overloaded`` where the budget has not so many."""
        more = size - self.bytes
        if more <= 0:
            return
        if size > SMALL and self.budget.bytes + more > self.budget.limit:
            raise Overloaded(
                f"bodies of {self.budget.bytes} bytes are being received, the server takes {self.budget.limit} at "
                f"once: no room for one of {size} bytes; try again, or send fewer at once (the limit is "
                "RERANK_MAX_BODY_BYTES_IN_FLIGHT)",
                retry_after=_RETRY,
            )
        self.bytes += more
        self.budget.bytes += more
