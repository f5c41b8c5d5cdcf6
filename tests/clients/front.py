"""A front that sends the first request to a server that is full, and the next ones to one that is not.

So a client meets a real 429 with a real body once, and shows whether it waits as long as ``Retry-After`` says.
``GET /-/reset`` begins anew, ``GET /-/attempts`` tells how often the client asked since, and how long it waited.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
RETRY_AFTER = 2.0  # seconds; more than any client here waits without being told
_LIMIT = 60.0
_OWN = {"connection", "content-length", "date", "keep-alive", "retry-after", "server", "transfer-encoding"}


class Front(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads = True

    def __init__(self, *, full: str, ready: str) -> None:
        super().__init__((HOST, 0), _Handler)
        self.full, self.ready = full, ready
        self._lock = threading.Lock()
        self._began: list[float] = []
        self._first_answered: float | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.server_port}"

    def reset(self) -> None:
        """Be full again."""
        with self._lock:
            self._began, self._first_answered = [], None

    def attempts(self) -> dict[str, Any]:
        """How often it was asked, and the seconds from the first answer to the second question."""
        with self._lock:
            waited = self._began[1] - (self._first_answered or 0.0) if len(self._began) > 1 else None
            return {"count": len(self._began), "waited": waited}

    def turn(self) -> str:
        """The address of the server whose turn it is."""
        with self._lock:
            self._began.append(time.monotonic())
            return self.full if len(self._began) == 1 else self.ready

    def answered(self) -> None:
        """The first answer is about to leave."""
        with self._lock:
            self._first_answered = self._first_answered or time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def do_GET(self) -> None:
        if self.path == "/-/reset":
            self.server.reset()
            self._answer(200, {"content-type": "application/json"}, b"{}")
        elif self.path == "/-/attempts":
            self._answer(200, {"content-type": "application/json"}, json.dumps(self.server.attempts()).encode())
        else:
            self._forward(self.server.ready, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self._forward(self.server.turn(), body)

    def _forward(self, url: str, body: bytes) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_LIMIT)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {*_OWN, "host"}}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
            if answer.getheader("retry-after"):
                kept["Retry-After"] = f"{RETRY_AFTER:.0f}"  # the server's own would take a test too long
            content = answer.read()
        finally:
            connection.close()
        self.server.answered()
        self._answer(answer.status, kept, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def front(*, full: str, ready: str) -> Iterator[Front]:
    """A front while the block runs."""
    with Front(full=full, ready=ready) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
