"""A connection: it reads requests, has them answered in their order, and closes after timeouts of the client."""

from __future__ import annotations

import asyncio
import logging
import math
import urllib.parse
from collections import deque
from typing import Any, cast

import httptools

from rerank_server.http1.exchange import UNREAD_LIMIT, Exchange
from rerank_server.http1.head import Head, RequestError
from rerank_server.http1.lingering import LINGER, Lingering
from rerank_server.http1.parser import RequestParser
from rerank_server.http1.polling import has_disconnected, is_readable
from rerank_server.http1.pool import Phase
from rerank_server.http1.serving import Serving
from rerank_server.http1.timer import Timer

logger = logging.getLogger(__name__)

_SLICE = 4096  # bytes parsed at once: the parser's limits, and how many requests wait, are looked at in between
_UNREAD_BODY = 65_536  # bytes of a body that the application has not taken: beyond them, no more are read
_BEHIND_LIMIT = 262_144  # bytes that may wait behind a request that is being answered
_REFUSED_BYTES = 1_048_576  # bytes that a client may go on sending behind a request that is refused here
_LOOK = 1.0  # seconds between two looks at whether the client is still there, while nothing is read


class Connection(asyncio.Protocol):
    """Parses requests, lets the application answer them in their order, and watches the client."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._pool = serving.pool
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self)
        self._received = bytearray()  # not parsed yet
        self._reads_no_more = False
        self._exchanges: deque[Exchange] = deque()  # the first is being answered
        self._incoming: Exchange | None = None  # whose body is not complete; it may have been answered already
        self._begun = False  # whether a request has begun that is not complete
        self._swallowed = 0  # bytes of a body that came behind its answer
        self._error_response: bytes | None = None  # to be sent behind the answers that are under way
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._deadline = Timer(self._late)  # of the request that arrives
        self._keep_alive = Timer(self._close_silent)
        self._stalled = Timer(self._look_at_writing)
        self._looking = Timer(self._look_for_client)
        self._untaken = 0  # bytes of answers that the client had not taken when ``_stalled`` was started

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self.client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._pool.enter(self, Phase.SILENT)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if not self._reads_no_more:
            self._received += data
            self._parse()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report to the application that the client has disconnected."""
        self._pool.leave(self)
        self._let_go()

    def pause_writing(self) -> None:
        """Make the application wait for a client that reads slowly."""
        self._writable.clear()
        self._watch_writing()

    def resume_writing(self) -> None:
        """Let the application go on."""
        self._writable.set()
        self._stalled.stop()

    # Events of the parser.

    def on_begin(self) -> None:
        """A request begins to arrive."""
        self._begun = True
        self._keep_alive.stop()
        if not self._deadline.is_running:
            self._start_deadline()
        if not self._exchanges:
            self._pool.enter(self, Phase.ARRIVING)

    def on_head(self, head: Head) -> None:
        """Queue the request; answer it at once where no other is being answered."""
        try:
            scope = self._scope(head)
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            raise RequestError(400, "the target of the request is malformed: send a path, like /v1/rerank") from None
        self._incoming = Exchange(head, scope, self)
        self._exchanges.append(self._incoming)
        if len(self._exchanges) == 1:
            self._answer(self._incoming)

    def on_body(self, data: bytes) -> None:
        """Pass a part of the body on, or drop it where the request has been answered already."""
        assert self._incoming is not None  # noqa: S101  # a body follows its head
        self._incoming.add(data)
        if self._incoming.answered:
            self._swallowed += len(data)

    def on_end(self) -> None:
        """A request is complete."""
        assert self._incoming is not None  # noqa: S101
        ended, self._incoming, self._begun = self._incoming, None, False
        self._deadline.stop()
        ended.end()
        if self._exchanges:
            self._pool.enter(self, Phase.BUSY)
        else:
            self._wait_for_next()

    # What an exchange needs.

    def write(self, data: bytes) -> None:
        """Send some bytes."""
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was sent."""
        await self._writable.wait()

    def may_stay_open(self, exchange: Exchange) -> bool:
        """Whether another answer may follow: while the server drains, only to what the client has sent already."""
        return not self._pool.draining or self._has_more_than(exchange)

    def on_read(self) -> None:
        """There is room for more of the body."""
        self._parse()

    def on_answered(self, exchange: Exchange) -> None:
        """Go on with the next request."""
        self._exchanges.popleft()
        if self._transport.is_closing():
            return
        if not exchange.keep_alive:
            self._linger(self._serving.receive_timeout)
            return
        if self._exchanges:
            self._answer(self._exchanges[0])
        elif self._error_response is not None:
            self._send_error_response()
            return
        if self._begun and self._incoming is not exchange:  # its time begins now: it stood behind this one
            self._start_deadline()
        if not self._exchanges:
            if self._begun:
                self._pool.enter(self, Phase.ARRIVING)
            else:
                self._wait_for_next()
        self._parse()
        self._watch_writing()

    def abort(self) -> None:
        """Close at once, without sending the rest of an answer."""
        self._transport.abort()

    # What the pool needs.

    def evict(self) -> bool:
        """Close at once, to make room."""
        if self._transport.is_closing():
            return True
        if not self._begun and self._has_unread_bytes():
            return False
        if self._begun and not self._answered_early():
            path = self._incoming.scope["path"] if self._incoming is not None else ""
            detail = "there are too many connections, and this request was not complete: try again"
            self._transport.write(self._serving.error_response(503, detail, path))
        self._let_go()
        self._close()
        return True

    def close_if_silent(self) -> None:
        """Close, unless there is a request or an answer on its way."""
        if not self._exchanges and not self._begun and not self._has_unread_bytes():
            self._transport.close()

    def refuse_arriving(self) -> None:
        """Answer 503 to a request that is not complete, and forget those behind the one that is being answered."""
        if self._begun and not self._answered_early():
            self._refuse(503, "the server ended before this request was complete: try again")

    # Reading.

    def _parse(self) -> None:
        while self._received and not self._must_wait():
            data = bytes(self._received[:_SLICE])
            del self._received[:_SLICE]
            try:
                self._parser.feed(data)
            except RequestError as error:
                logger.debug("a request cannot be read, and its connection is closed: %s", error.message)
                self._refuse(error.status, error.message)
                return
            if self._swallowed > UNREAD_LIMIT:
                self._linger(self._serving.receive_timeout)
                return
        if len(self._exchanges) > 1 and len(self._received) > _BEHIND_LIMIT:
            # To read no more would not do: who does not read does not notice that the client leaves.
            self._refuse(503, f"more than {_BEHIND_LIMIT} bytes came behind a request that is not answered: send less")
            return
        self._pause_reading(self._body_is_behind())

    def _must_wait(self) -> bool:
        """Whether the client has to wait: with a second request for the first, with a body for the application."""
        return len(self._exchanges) > 1 or self._body_is_behind()

    def _body_is_behind(self) -> bool:
        return self._incoming is not None and self._incoming.unread > _UNREAD_BODY

    def _pause_reading(self, paused: bool) -> None:
        if paused == self._paused or self._transport.is_closing():
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
            self._looking.start(_LOOK)
        else:
            self._transport.resume_reading()
            self._looking.stop()

    def _look_for_client(self) -> None:
        """Check whether the client has disconnected: while nothing is read, the event loop does not notice it."""
        if has_disconnected(self._transport.get_extra_info("socket")):
            self._transport.abort()
        else:
            self._looking.start(_LOOK)

    def _has_unread_bytes(self) -> bool:
        """Whether bytes have come that the event loop has not read yet."""
        return bool(self._received) or is_readable(self._transport.get_extra_info("socket"))

    def _has_more_than(self, exchange: Exchange) -> bool:
        """Whether the client has sent more than this one request."""
        behind = self._begun and self._incoming is not exchange
        return len(self._exchanges) > 1 or behind or bool(self._received) or self._error_response is not None

    # Answering.

    def _answer(self, exchange: Exchange) -> None:
        self._pool.enter(self, Phase.BUSY if exchange.complete else Phase.ARRIVING)
        task = self._loop.create_task(exchange.run(self._serving.app, self._serving.default_headers()))
        self._pool.tasks.add(task)
        task.add_done_callback(self._pool.tasks.discard)

    def _scope(self, head: Head) -> dict[str, Any]:
        url = httptools.parse_url(head.target)
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "server": self._server,
            "client": self.client,
            "scheme": "http",
            "method": head.method,
            "root_path": "",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": head.headers,
            "state": self._serving.state.copy(),
        }

    # Refusing and closing.

    def _refuse(self, status: int, detail: str) -> None:
        """Answer a request that cannot be read, or is not complete in time, when its turn has come."""
        self._reads_no_more = True
        self._received.clear()
        self._deadline.stop()
        refused, self._incoming, self._begun = self._incoming, None, False
        if refused is not None and (refused.answered or refused.started):
            self._linger(LINGER) if refused.answered else self._close()
            return
        path = ""
        if refused is not None:
            path = refused.scope["path"]
            self._exchanges.remove(refused)
            refused.disconnect()
        self._error_response = self._serving.error_response(status, detail, path)
        if not self._exchanges:
            self._send_error_response()

    def _send_error_response(self) -> None:
        assert self._error_response is not None  # noqa: S101
        self._transport.write(self._error_response)
        self._linger(LINGER, _REFUSED_BYTES)

    def _close(self) -> None:
        """Close as soon as the client has taken what was sent; at once where it takes nothing for too long."""
        self._transport.close()
        self._watch_writing()

    def _linger(self, limit: float, most: float = math.inf) -> None:
        """Close later: closing while bytes are on their way would reset the connection, and lose the answer."""
        self._let_go()
        self._pool.leave(self)
        self._transport.set_protocol(
            Lingering(self._transport, self._pool, limit=limit, patience=self._serving.receive_timeout, most=most)
        )

    def _let_go(self) -> None:
        """Release the connection: disconnect its requests, and stop its timers."""
        self._reads_no_more = True
        self._received.clear()
        for exchange in self._exchanges:
            exchange.disconnect()
        self._exchanges.clear()
        self._writable.set()
        for timer in (self._deadline, self._keep_alive, self._stalled, self._looking):
            timer.stop()

    # Timers.

    def _start_deadline(self) -> None:
        self._deadline.start(self._serving.receive_timeout)

    def _late(self) -> None:
        seconds = self._serving.receive_timeout
        if self._is_held_up() or (not self._begun and self._has_unread_bytes()):
            self._start_deadline()
            return
        logger.debug("a request was not complete within %g s: its connection is closed", seconds)
        if self._begun and not self._answered_early():
            self._refuse(408, f"the request was not complete within {seconds:g} s: send it faster")
        else:
            self._transport.close()
        if self._transport.get_write_buffer_size():  # nor does it read: closing would wait until it did
            self._transport.abort()

    def _is_held_up(self) -> bool:
        """Whether the client waits: for room, for an earlier answer, or for ``100 Continue``."""
        if self._paused:
            return True
        if not self._exchanges:
            return False
        return self._exchanges[0] is not self._incoming or self._incoming.waits_for_continue

    def _answered_early(self) -> bool:
        """Whether an answer to the request that is not complete is on its way or sent."""
        return self._incoming is not None and self._incoming.started

    def _wait_for_next(self) -> None:
        self._swallowed = 0
        self._pool.enter(self, Phase.SILENT)
        self._keep_alive.start(self._serving.keep_alive_seconds)

    def _close_silent(self) -> None:
        self.close_if_silent()
        if not self._transport.is_closing():
            self._keep_alive.start(_LOOK)

    def _watch_writing(self) -> None:
        """Start a timer while there are bytes that the client has not read."""
        if not self._stalled.is_running and (untaken := self._transport.get_write_buffer_size()):
            self._untaken = untaken
            self._stalled.start(self._serving.receive_timeout)

    def _look_at_writing(self) -> None:
        if self._transport.get_write_buffer_size() < self._untaken:
            self._watch_writing()
            return
        logger.debug("nothing of an answer was taken for %g s: its connection is closed", self._serving.receive_timeout)
        self._transport.abort()


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a TCP address; None for a Unix socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
