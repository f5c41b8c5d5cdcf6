"""Traces of requests, with OpenTelemetry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from rerank_core.errors import MissingExtra

from rerank_server import __version__
from rerank_server.observability.request_record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


class Tracing(Protocol):
    """Makes one span per request. The other methods take the result of ``begin``; None is no trace."""

    def begin(self, headers: Mapping[str, str], began_at: float) -> Any:
        """Begin a span at ``began_at``, in seconds since 1970. Its parent is in the ``headers`` (lower case, W3C)."""
        ...

    def outgoing(self, context: Any) -> dict[str, str]:
        """The headers of the response, with the identifier of the span."""
        ...

    def finish(self, record: RequestRecord, context: Any) -> None:
        """End the span, after the request has been answered."""
        ...

    def close(self) -> None:
        """Send the remaining spans. This blocks as long as the collector does: not to be called on the event loop."""
        ...


def open_tracing(endpoint: str | None, *, processor: SpanProcessor | None = None) -> Tracing:
    """Send traces to the OpenTelemetry collector at this URL, from a thread of its own. None: no traces.

    ``processor`` receives the spans instead of the collector. Raises ``MissingExtra`` without opentelemetry.
    """
    if endpoint is None:
        return _NoTracing()
    try:
        return _OpenTelemetry(processor or _exporting(endpoint))
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise MissingExtra.needs("traces need opentelemetry", "rerank-server[otel]") from missing


def _exporting(endpoint: str) -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces"))


async def close_within(seconds: float, tracing: Tracing) -> None:
    """Send the remaining spans, but wait no longer: a collector that is gone must not keep the process."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        tracing.close()
        with suppress(RuntimeError):  # the loop has ended: nobody waits for it
            loop.call_soon_threadsafe(sent.set)

    threading.Thread(target=close, name="traces", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await sent.wait()


class _NoTracing:
    def begin(self, headers: Mapping[str, str], began_at: float) -> None:
        return None

    def outgoing(self, context: None) -> dict[str, str]:
        return {}

    def finish(self, record: RequestRecord, context: None) -> None:
        pass

    def close(self) -> None:
        pass


class _OpenTelemetry:
    """Traces with OpenTelemetry. The context is the span of the request."""

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        # Not the global provider: there may be several applications in one process.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "rerank", "service.version": __version__})
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("rerank_server", __version__)

    def begin(self, headers: Mapping[str, str], began_at: float) -> Any:
        return self._tracer.start_span(
            "request",  # renamed at the end
            context=self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            start_time=_nanoseconds(began_at),
        )

    def outgoing(self, context: Any) -> dict[str, str]:
        headers: dict[str, str] = {}
        if context is not None:
            self._propagator.inject(headers, self._trace.set_span_in_context(context))
        return {name: value for name, value in headers.items() if name == "traceparent"}

    def finish(self, record: RequestRecord, context: Any) -> None:
        if context is None:
            return
        context.update_name(f"{record.method} {record.route}")
        context.set_attributes(_attributes(record))
        if record.status >= 500:
            context.set_status(self._trace.StatusCode.ERROR)
        if record.is_scoring:
            self._add_phases(record, context)
        context.end(_nanoseconds(record.began_at + record.total_seconds))

    def close(self) -> None:
        self._provider.shutdown()

    def _add_phases(self, record: RequestRecord, context: Any) -> None:
        """Add a span for each phase, one after the other: only their durations are known."""
        inside = self._trace.set_span_in_context(context)
        begin = record.began_at
        for name, seconds in (
            ("tokenize", record.tokenize_seconds),
            ("queue", record.queue_seconds),
            ("forward", record.forward_seconds),
        ):
            if seconds > 0:
                part = self._tracer.start_span(name, context=inside, start_time=_nanoseconds(begin))
                begin += seconds
                part.end(_nanoseconds(begin))


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "rerank.request_id": record.request_id,
    }
    if record.is_scoring:
        attributes |= {"rerank.pairs": record.pairs, "rerank.tokens": record.tokens}
    if record.error is not None:
        attributes["rerank.error"] = record.error
    return attributes


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
