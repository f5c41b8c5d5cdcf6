"""A client that does not deliver its request in time, or does not take its answer, is shown the door."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

LINGER = 2.0  # seconds in which a client that still sends can read why it is refused


def receiving_protocol(seconds: float) -> type[asyncio.Protocol]:
    """For ``uvicorn.Config(http=...)``: gives each request ``seconds`` to arrive, head and body.

    They count from the request's first byte, or from the connection where it is the first, and no later byte extends
    them; while it is the client that waits for the server, it is not late. Who is late is answered 408, unless no
    request or already an answer has begun, and the connection is closed. So is one whose client takes nothing of its
    answer for ``seconds``.
    """

    class Protocol(_Receiving):
        limit = seconds

    return Protocol


class _Receiving(HttpToolsProtocol):
    """uvicorn waits for a request without any limit, and has no hook for one: so this leans on its insides.

    They are the parser's callbacks, the cycle (one request and its answer), ``scope`` (made anew as a request begins)
    and ``pipeline`` (requests behind the one that is being answered). The tests name them all.
    """

    limit: ClassVar[float]  # seconds
    _begun = False  # whether there is a request that is not complete
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Empty lines, or the rest of a body that was answered unread: uvicorn has switched its keep-alive timer off for
        # these, and would wait for ever.
        idle = self._answer_begun() and self.cycle.response_complete
        if idle and self._deadline is None and self.timeout_keep_alive_task is None:
            self._start()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        if self._deadline is None:
            self._start()

    def on_message_complete(self) -> None:
        self._begun = False
        self._stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._deadline is not None and not self._answer_begun():  # the next request stood behind this one
            self._stop()
            self._start()
            self._unset_keepalive_if_required()  # uvicorn takes the connection for idle while it has half a head
        self._watch_reading()

    def _start(self) -> None:
        self._deadline = self.loop.call_later(self.limit, self._late)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if self._held_up():
            self._start()
            return
        self._deadline = None
        logger.debug("a request was not complete within %g s: its connection is closed", self.limit)
        if self._begun and not self._answer_begun():
            self.transport.write(self._refusal())
            self._linger()
        else:
            self.transport.close()
        if self.transport.get_write_buffer_size():  # nor does it read: closing would wait until it did
            self.transport.abort()

    def _linger(self) -> None:
        """To close while bytes are on their way would reset the connection, and the client lose its answer."""
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self.connection_lost(TimeoutError())  # for the application the client has left
        self._unset_keepalive_if_required()
        self.transport.set_protocol(_Lingering(self.transport, self.loop))

    def _watch_reading(self) -> None:
        """Looks again after ``limit`` seconds, for as long as there is something that the client has not taken."""
        if self._reading is None and (waiting := self.transport.get_write_buffer_size()):
            self._reading = self.loop.call_later(self.limit, self._look_at_reading, waiting)

    def _stop_watching(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look_at_reading(self, waited: int) -> None:
        self._reading = None
        if self.transport.get_write_buffer_size() < waited:
            self._watch_reading()
            return
        logger.debug("nothing of an answer was taken for %g s: its connection is closed", self.limit)
        self.transport.abort()

    def _held_up(self) -> bool:
        """Whether it is the client that waits: for room, for an earlier answer, or to be told to continue."""
        if self.flow.read_paused or self.pipeline:
            return True
        if self.cycle is None or self.cycle.response_complete:
            return False
        return self.cycle.scope is not self.scope or self.cycle.waiting_for_100_continue

    def _answer_begun(self) -> bool:
        """Whether an answer to the latest request, of which the head was complete, is on its way or sent."""
        return self.cycle is not None and self.cycle.scope is self.scope and self.cycle.response_started

    def _refusal(self) -> bytes:
        body = b'{"detail":"the request was not complete within %g s: send it faster"}' % self.limit
        lines = [
            b"HTTP/1.1 408 Request Timeout",
            *(name + b": " + value for name, value in self.server_state.default_headers),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        return b"\r\n".join([*lines, b"", body])


class _Lingering(asyncio.Protocol):
    """Drops what comes, until the client has closed or ``LINGER`` is over."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._end = loop.call_later(LINGER, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
