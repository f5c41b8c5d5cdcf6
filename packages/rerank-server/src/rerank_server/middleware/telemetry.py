"""Telemetry: every request gets an identifier, metrics, a log line and a trace."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterator
from typing import Any

from rerank_server.asgi import ASGIApp, Message, Receive, Send
from rerank_server.middleware.methods import normalized
from rerank_server.observability.logs import PROBES, log_request
from rerank_server.observability.metrics import Metrics
from rerank_server.observability.request_record import RequestRecord
from rerank_server.observability.tracing import Tracing

_KEY = "rerank.record"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TIMING_HEADERS = (
    *("x-compute-time", "x-compute-characters", "x-compute-tokens", "x-total-time"),
    *("x-tokenization-time", "x-queue-time", "x-inference-time"),
)
_HEADERS = {b"x-request-id", b"traceparent", b"tracestate"}


def record_of(scope: Any) -> RequestRecord:
    """The record of the current request."""
    record: RequestRecord = scope[_KEY]
    return record


class TelemetryMiddleware:
    """ASGI: makes the record of each request, and reports it when the request has been answered.

    ``routes`` are the known paths: the route of any other path is ``other``.
    """

    def __init__(self, app: ASGIApp, *, routes: Container[str], metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._routes = routes
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection; one that is not HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        headers = {
            name.lower().decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name.lower() in _HEADERS
        }
        request_id = _request_id(headers.get("x-request-id", ""))
        record = scope[_KEY] = RequestRecord(request_id=request_id, method=scope["method"], route=self._route(scope))
        context = None if record.route in PROBES else self._tracing.begin(headers, record.began_at)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                record.total_seconds = time.perf_counter() - record.began
                ours = [*_headers(record), *self._tracing.outgoing(context).items()]
                encoded = [(name.encode(), value.encode()) for name, value in ours]
                message = {**message, "headers": [*message.get("headers", ()), *encoded]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            record.status = record.status or 500
            raise
        finally:
            record.status = record.status or 499  # the client has disconnected
            record.total_seconds = time.perf_counter() - record.began
            self._metrics.request(record)
            log_request(record)
            self._tracing.finish(record, context)

    def _route(self, scope: Any) -> str:
        path = normalized(scope["path"])
        return path if path in self._routes else "other"


def _request_id(asked: str) -> str:
    """The identifier that the client sent, where it is valid in a log and a header; else a new one."""
    return asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex


def _headers(record: RequestRecord) -> Iterator[tuple[str, str]]:
    """The identifier of the request, and for a scoring request its times, in text-embeddings-inference's headers.

    The times are whole milliseconds, until the body is sent. As there, x-compute-time is the same as x-total-time; the
    times of tokenization, queue and inference are parts of it.
    """
    yield "x-request-id", record.request_id
    if record.is_scoring:
        total = _milliseconds(record.total_seconds)
        parts = (record.tokenize_seconds, record.queue_seconds, record.forward_seconds)
        values = (total, str(record.characters), str(record.tokens), total, *map(_milliseconds, parts))
        yield from zip(TIMING_HEADERS, values, strict=True)


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


class LoopLag:
    """Measures the delay of the event loop: every request is delayed by as much."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lately: deque[float] = deque(maxlen=30)

    @property
    def seconds(self) -> float:
        """The longest of the last 30 measurements, so that a reader every 15 seconds misses none."""
        return max(self._lately, default=0.0)

    async def run(self) -> None:
        """Measure twice a second, until cancelled."""
        while True:
            due = self._clock() + 0.5
            await self._sleep(0.5)
            self._lately.append(max(0.0, self._clock() - due))
