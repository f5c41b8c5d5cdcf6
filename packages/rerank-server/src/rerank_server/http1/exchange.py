"""One request and its answer, as ASGI."""

from __future__ import annotations

import asyncio
import logging
import re
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias

from rerank_server.asgi import ASGIApp, Message
from rerank_server.http1.head import Head

Headers: TypeAlias = list[tuple[bytes, bytes]]

logger = logging.getLogger(__name__)

UNREAD_LIMIT = 65_536  # bytes of a body that are read and dropped behind an early answer; beyond, the connection closes
_NO_BODY = {204, 304}
_FORBIDDEN_IN_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Channel(Protocol):
    """The interface of a connection for its exchanges."""

    def write(self, data: bytes) -> None:
        """Send some bytes."""

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was sent."""

    def may_stay_open(self, exchange: Exchange) -> bool:
        """Whether the connection is kept after the answer."""

    def on_read(self) -> None:
        """The application has taken what there was of the body."""

    def on_answered(self, exchange: Exchange) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        """Close the connection: the answer cannot be completed."""


class Exchange:
    """Receives the request's body for the application, and sends the application's answer."""

    def __init__(self, head: Head, scope: dict[str, Any], channel: Channel) -> None:
        self.head = head
        self.scope = scope
        self._channel = channel
        self._body = bytearray()
        self._received = 0
        self._changed = asyncio.Event()
        self.complete = False  # whether the whole request has come
        self.disconnected = False
        self.started = False  # whether the answer has begun
        self.answered = False  # whether it is complete
        self.keep_alive = head.keep_alive
        self.waits_for_continue = head.expects_continue
        self._chunked = False
        self._expected = 0  # bytes of the answer's body that are still to come

    async def run(self, app: ASGIApp, default_headers: Headers) -> None:
        """Let the application answer."""
        self._default_headers = default_headers
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("the application failed outside of its own error handling")
        if self.answered or self.disconnected:
            return
        if self.started:
            logger.error("the application did not complete an answer: its connection is closed")
            self._channel.abort()
            return
        logger.error("the application did not answer")
        self.keep_alive = False
        body = b'{"detail":"Internal Server Error"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    # The request.

    @property
    def unread(self) -> int:
        """Bytes of the body that the application has not taken."""
        return len(self._body)

    def add(self, data: bytes) -> None:
        """A part of the body has come."""
        self._received += len(data)
        self.waits_for_continue = False  # it did not wait
        if not self.answered:
            self._body += data
            self._changed.set()

    def end(self) -> None:
        """The whole request has come."""
        self.complete = True
        self._changed.set()

    def disconnect(self) -> None:
        """The client has left."""
        self.disconnected = True
        self._changed.set()

    async def receive(self) -> Message:
        """ASGI."""
        if self.waits_for_continue and not self.disconnected:
            self._channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waits_for_continue = False
        if not self.disconnected and not self.answered:
            await self._changed.wait()
            self._changed.clear()
        if self.disconnected or self.answered:
            return {"type": "http.disconnect"}
        body = bytes(self._body)
        self._body.clear()
        more = not self.complete
        self._channel.on_read()
        return {"type": "http.request", "body": body, "more_body": more}

    @property
    def too_much_is_left(self) -> bool:
        """Whether so much of the body is still to come that it is not worth reading for the next request's sake."""
        if self.complete:
            return False
        length = self.head.content_length
        return self.waits_for_continue or (self._received if length is None else length - self._received) > UNREAD_LIMIT

    # The answer.

    async def send(self, message: Message) -> None:
        """ASGI."""
        await self._channel.drained()
        if self.disconnected:
            return
        if not self.started:
            self._send_head(message)
        elif not self.answered:
            self._send_body(message)
        else:
            raise RuntimeError(f"{message['type']} after a complete answer")

    def _send_head(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"{message['type']} before http.response.start")
        status: int = message["status"]
        headers = [(name.lower(), value) for name, value in [*self._default_headers, *message.get("headers", ())]]
        for name, value in headers:
            if _FORBIDDEN_IN_NAME.search(name) or _FORBIDDEN_IN_VALUE.search(value):
                raise RuntimeError("an answer's header has forbidden characters")
        lengths = [int(value) for name, value in headers if name == b"content-length"]
        has_body = self.head.method != "HEAD" and status not in _NO_BODY
        self._chunked = has_body and not lengths and self.head.version == "1.1"
        unframed = has_body and not lengths and not self._chunked  # HTTP/1.0: it ends with the connection
        self._expected = lengths[0] if lengths and has_body else 0
        asked_to_close = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
        headers = [(name, value) for name, value in headers if name not in {b"connection", b"transfer-encoding"}]
        self.keep_alive = (
            self.keep_alive
            and not (asked_to_close or unframed or self.too_much_is_left)
            and self._channel.may_stay_open(self)
        )
        self._unframed = unframed
        self.waits_for_continue = False
        if self._chunked:
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        elif self.head.version == "1.0":
            headers.append((b"connection", b"keep-alive"))
        self.started = True
        self._channel.write(encode_head(status, headers))

    def _send_body(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} before the end of the answer's body")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self._chunked:
            last = b"" if more else b"0\r\n\r\n"
            self._channel.write((b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + last)
        elif self._unframed:
            self._channel.write(body)
        elif self.head.method != "HEAD":
            self._expected -= len(body)
            if self._expected < 0 or (self._expected and not more):
                raise RuntimeError("the answer's body is not as long as its Content-Length")
            self._channel.write(body)
        if not more:
            self.answered = True
            self._body.clear()
            self._changed.set()
            self._channel.on_answered(self)


def encode_head(status: int, headers: Headers) -> bytes:
    """Status line and headers of an answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])
