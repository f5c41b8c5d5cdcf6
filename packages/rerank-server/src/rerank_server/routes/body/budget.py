"""A budget of the bytes of request bodies that are being received or decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rerank_core.errors import Overloaded

SMALL = 64 * 1024  # bytes; never refused: the transport buffers as much of every request anyway
_RETRY = 1.0  # seconds


class BodyBudget:
    """A limit on the bytes of all bodies at once. A body beyond it is refused at once, without waiting."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    @contextmanager
    def reserve(self) -> Iterator[BodyReservation]:
        """Reserve room for one body: 0 bytes at first, and released at the end."""
        reservation = BodyReservation(self)
        try:
            yield reservation
        finally:
            self.bytes -= reservation.bytes
            reservation.bytes = 0


@dataclass(slots=True, eq=False)
class BodyReservation:
    """The bytes of the budget that one body uses."""

    budget: BodyBudget
    bytes: int = 0

    def grow_to(self, size: int) -> None:
        """Reserve ``size`` bytes in total. Raises ``Overloaded`` where the budget does not have them."""
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
