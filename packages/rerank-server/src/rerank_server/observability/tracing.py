"""Traces of requests, for those who collect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from rerank_core.errors import MissingExtra

from rerank_server import __version__
from rerank_server.observability.request_record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


class Tracing(Protocol):
    """One span per request. What ``begin`` gives is for the other methods only; None is a request without a trace."""

    def begin(self, headers: Mapping[str, str], began_at: float) -> Any:
        """A request came, in seconds since 1970. Of ``headers``, in small letters, it reads those of W3C."""
        ...

    def outgoing(self, context: Any) -> dict[str, str]:
        """Headers of the response, naming the request's own span."""
        ...

    def finish(self, record: Record, context: Any) -> None:
        """The request has been answered."""
        ...

    def close(self) -> None:
        """Send what is left. Takes as long as the collector does: not for the event loop."""
        ...


def open_tracing(endpoint: str | None, *, processor: SpanProcessor | None = None) -> Tracing:
    """Trace to a collector of OpenTelemetry at this URL, from a thread of its own; without one, not at all.

    ``processor`` takes the spans instead of the collector. Raises ``MissingExtra`` without opentelemetry.
    """
    if endpoint is None:
        return _NoTracing()
    try:
        return _OpenTelemetry(processor or _exporting(endpoint))
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise MissingExtra("traces need opentelemetry: pip install 'rerank-server[otel]'") from missing


def _exporting(endpoint: str) -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces"))


class _NoTracing:
    def begin(self, headers: Mapping[str, str], began_at: float) -> None:
        return None

    def outgoing(self, context: None) -> dict[str, str]:
        return {}

    def finish(self, record: Record, context: None) -> None:
        pass

    def close(self) -> None:
        pass


class _OpenTelemetry:
    """The context is the request's span."""

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        # Of its own: several applications may live in one process, and the global one belongs to none of them.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "rerank", "service.version": __version__})
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("rerank_server", __version__)

    def begin(self, headers: Mapping[str, str], began_at: float) -> Any:
        return self._tracer.start_span(
            "request",  # its name is known at the end
            context=self._propagator.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            start_time=_nanoseconds(began_at),
        )

    def outgoing(self, context: Any) -> dict[str, str]:
        headers: dict[str, str] = {}
        if context is not None:
            self._propagator.inject(headers, self._trace.set_span_in_context(context))
        return {name: value for name, value in headers.items() if name == "traceparent"}

    def finish(self, record: Record, context: Any) -> None:
        if context is None:
            return
        context.update_name(f"{record.method} {record.route}")
        context.set_attributes(_attributes(record))
        if record.status >= 500:
            context.set_status(self._trace.StatusCode.ERROR)
        if record.is_scoring:
            self._lay_parts(record, context)
        context.end(_nanoseconds(record.began_at + record.total_seconds))

    def close(self) -> None:
        self._provider.shutdown()

    def _lay_parts(self, record: Record, context: Any) -> None:
        """One after the other, in the order they are gone through: of each only its length is known."""
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


def _attributes(record: Record) -> dict[str, str | int]:
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
