"""The open connections of a server: their limit, and the order in which they are closed to make room."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Iterator
from typing import Protocol

logger = logging.getLogger(__name__)

_TRIES = 16  # connections of one phase that are looked at before the next one is


class Phase(enum.IntEnum):
    """The phase of a connection. The lowest is closed first to make room; one that is BUSY is never closed."""

    LINGERING = 0  # answered, and about to be closed
    SILENT = 1  # no request has begun
    ARRIVING = 2  # a request has begun, and is not complete
    BUSY = 3  # a complete request is being answered


class Member(Protocol):
    """The interface of a connection for its pool."""

    def evict(self) -> bool:
        """Close at once, to make room. False where that would lose something that has just come."""

    def close_if_silent(self) -> None:
        """Close, unless there is a request or an answer on its way."""

    def refuse_arriving(self) -> None:
        """Answer 503 to a request that is not complete."""

    def abort(self) -> None:
        """Close at once, without sending the rest of an answer."""


class Pool:
    """All open connections, at most ``limit`` of them, in the order in which each entered its phase."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.draining = False  # whether every answer is the last one of its connection
        self.tasks: set[asyncio.Task[None]] = set()  # of requests that are being answered
        self._phases: dict[Member, Phase] = {}
        self._members: dict[Phase, dict[Member, None]] = {phase: {} for phase in Phase}

    def __len__(self) -> int:
        return len(self._phases)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._phases))

    def enter(self, member: Member, phase: Phase) -> None:
        """Add a connection, or move it to the end of a phase."""
        self.leave(member)
        self._phases[member] = phase
        self._members[phase][member] = None

    def leave(self, member: Member) -> None:
        """Forget a connection that is closed."""
        phase = self._phases.pop(member, None)
        if phase is not None:
            del self._members[phase][member]

    def count(self, *phases: Phase) -> int:
        """The number of connections in these phases."""
        return sum(len(self._members[phase]) for phase in phases)

    def make_room(self, opening: int = 0) -> bool:
        """Make room for one more connection: at the limit, one is closed. False where all are busy.

        ``opening`` connections are about to enter.
        """
        return len(self) + opening < self.limit or self.evict_one()

    def evict_one(self) -> bool:
        """Close the oldest connection of the lowest phase. False where all are busy."""
        for phase in (Phase.LINGERING, Phase.SILENT, Phase.ARRIVING):
            for member in list(self._members[phase])[:_TRIES]:
                if member.evict():
                    self.leave(member)
                    logger.debug("a connection was closed to make room: there are %d", self.limit)
                    return True
                self.enter(member, phase)
        return False
