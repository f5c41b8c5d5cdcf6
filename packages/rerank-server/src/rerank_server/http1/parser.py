"""A parser of HTTP requests without I/O: bytes in, events out."""

from __future__ import annotations

from typing import Protocol

import httptools

from rerank_server.http1.head import Head, RequestError, check_head

FRAMING_LIMIT = 65_536  # bytes of a request that are not body: request line, headers, chunk sizes, trailers
_FRAMING_PER_BYTE = 16  # bytes of framing that each byte of a body allows beyond it: small chunks are legal


class Events(Protocol):
    """The receiver of what a parser finds, in this order for each request."""

    def on_begin(self) -> None:
        """The first byte of a request has come."""

    def on_head(self, head: Head) -> None:
        """The head is complete."""

    def on_body(self, data: bytes) -> None:
        """A part of the body has come."""

    def on_end(self) -> None:
        """The request is complete."""


class RequestParser:
    """Parses the requests of one connection.

    An ``Upgrade`` is never accepted, so it is ignored, as RFC 9110 (7.8) allows: the request is read as if it had
    none. Trailers are dropped: they never become headers. What comes after a request that closes the connection is
    dropped too.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._parser = httptools.HttpRequestParser(self)
        self._error: RequestError | None = None
        self._closed = False
        self._framing = 0
        self._replayed = False
        self._begin()

    def feed(self, data: bytes) -> None:
        """Parse some bytes. Raises ``RequestError`` where they are no request; nothing can be parsed after that.

        The limit of framing is looked at once a call, so that calls should be small: 4 kB, not 4 MB.
        """
        if self._closed:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_on_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if self._closed:  # more data behind the last request
                return
            raise self._error or RequestError(400, f"this is no HTTP request: {error}") from None
        self._framing += len(data)
        if self._framing > FRAMING_LIMIT and not self._closed:
            raise self._too_large()

    def _read_on_without_upgrade(self, rest: bytes) -> None:
        """Parse the head again: httptools stops at an upgrade and takes the body for another protocol."""
        kept = [(name, value) for name, value in self._headers if name != b"upgrade"]
        lines = [b"%s %s HTTP/%s" % (self._method.encode(), self._target, self._version.encode())]
        lines += [name + b": " + value for name, value in kept]
        self._parser = httptools.HttpRequestParser(self)
        self._replayed = True
        self.feed(b"\r\n".join([*lines, b"", b""]))
        self.feed(rest)

    def _too_large(self) -> RequestError:
        if self._in_head and len(self._target) > FRAMING_LIMIT // 2:
            return RequestError(414, f"the target of the request is too long: a head may have {FRAMING_LIMIT} bytes")
        return RequestError(431, f"the headers are too long: all of them together may have {FRAMING_LIMIT} bytes")

    def _begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._framing = 0

    # Callbacks of httptools. What they raise it wraps, so that a RequestError is kept in self._error.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._begin()
        if self._replayed:
            self._replayed = False
        else:
            self._events.on_begin()

    def on_url(self, part: bytes) -> None:
        """Collect the target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field, or drop a trailer field."""
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head and pass it on, unless it has to be read again without its upgrade."""
        self._method = self._parser.get_method().decode("ascii")
        self._version = self._parser.get_http_version()
        if self._parser.should_upgrade() and self._method != "CONNECT":
            return
        head = Head(
            method=self._method,
            target=self._target,
            version=self._version,
            headers=self._headers,
            keep_alive=self._parser.should_keep_alive(),
        )
        try:
            check_head(head)
            self._events.on_head(head)
        except RequestError as error:
            self._error = error
            raise
        self._in_head = False
        self._keep_alive = head.keep_alive

    def on_body(self, data: bytes) -> None:
        """Pass on a part of the body."""
        self._framing = max(0, self._framing - _FRAMING_PER_BYTE * len(data))
        self._events.on_body(data)

    def on_message_complete(self) -> None:
        """End a request, unless it has to be read again without its upgrade."""
        if self._in_head:
            return
        self._begin()
        self._closed = not self._keep_alive
        self._events.on_end()
