"""The end of a connection: its answer is sent, and the client gets time to read it."""

from __future__ import annotations

import asyncio

from rerank_server.http1.pool import Phase, Pool

LINGER = 2.0  # seconds without a byte from the client after which the connection is closed


class Lingering(asyncio.Protocol):
    """Ends the sending half of a connection, and drops what still comes until the client closes its half.

    To close at once while bytes are on their way would reset the connection, and the client lose its answer. Not
    longer than ``LINGER`` without a byte, nor than ``limit`` seconds in all, since the answer was taken; not longer
    than ``patience`` seconds while nothing of it is taken; and for no more than ``most`` bytes.
    """

    def __init__(self, transport: asyncio.Transport, pool: Pool, *, limit: float, patience: float, most: float) -> None:
        self._transport = transport
        self._pool = pool
        self._limit = limit
        self._patience = patience
        self._room = most
        self._loop = asyncio.get_running_loop()
        self._heard = False  # since the last look
        self._waiting = 0  # bytes of the answer that had not been taken at the last look
        self._seconds = 0.0  # since the answer was taken
        self._stalled = 0.0  # seconds in which nothing of it was taken
        transport.write_eof()
        transport.resume_reading()
        pool.enter(self, Phase.LINGERING)
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Drop the bytes."""
        self._heard = True
        self._room -= len(data)
        if self._room < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Both halves are closed."""
        self._pool.leave(self)
        self._timer.cancel()

    def evict(self) -> bool:
        """Close at once, to make room."""
        self._transport.abort()
        return True

    def close_if_silent(self) -> None:
        """Wait: an answer is on its way."""

    def refuse_arriving(self) -> None:
        """Wait: the answer is sent."""

    def abort(self) -> None:
        """Close at once, without sending the rest of an answer."""
        self._transport.abort()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(LINGER, self._look)

    def _look(self) -> None:
        waiting = self._transport.get_write_buffer_size()
        if waiting:
            self._stalled = self._stalled + LINGER if waiting >= self._waiting > 0 else 0.0
            over = self._stalled >= self._patience
        else:
            self._seconds += LINGER
            over = not self._heard or self._seconds >= self._limit
        if over:
            self._transport.abort()
            return
        self._heard, self._waiting = False, waiting
        self._look_later()
