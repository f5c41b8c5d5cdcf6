"""What all connections of a server share, and how a request is refused before an application sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rerank_server.asgi import ASGIApp
from rerank_server.http1.exchange import Headers, encode_head
from rerank_server.http1.pool import Pool

_RETRY_AFTER = 5  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The configuration that all connections of a server share.

    Head and body of a request have to arrive within ``receive_timeout`` seconds. They count from its first byte (the
    first request: from the connection), and no later byte extends them; time in which the client waits for the server
    does not count. A late request is answered 408, unless none has begun or the answer has, and its connection is
    closed. So is a connection whose client reads nothing of its answer for as long, and, after ``keep_alive_seconds``,
    one on which no further request begins.
    """

    app: ASGIApp
    pool: Pool
    receive_timeout: float
    keep_alive_seconds: float
    state: dict[str, Any] = field(default_factory=dict)  # of the application's lifespan
    default_headers: Callable[[], Headers] = list
    unavailable: Callable[[str, str], bytes] = lambda _, message: _detail(message)
    """The body of a 503 for a path, with a message: where a request is not complete and the server cannot wait."""

    def error_response(self, status: int, message: str, path: str) -> bytes:
        """The response to a request that is not passed to the application, head and body."""
        body = self.unavailable(path, message) if status == 503 else _detail(message)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if status == 503:
            headers.append((b"retry-after", b"%d" % _RETRY_AFTER))
        return encode_head(status, [*self.default_headers(), *headers, (b"connection", b"close")]) + body


def _detail(message: str) -> bytes:
    return json.dumps({"detail": message}).encode()
