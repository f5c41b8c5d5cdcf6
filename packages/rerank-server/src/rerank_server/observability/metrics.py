"""The metrics for Prometheus: their names, and how a request and a batch are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rerank_server.observability.request_record import RequestRecord

_REQUEST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144)

# Name: description, labels. A description stands alone in Grafana: it is a complete sentence.
_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rerank_requests_total": ("Number of HTTP requests that were answered.", ("route", "method", "status")),
    "rerank_errors_total": ("Number of scoring requests that were answered with an error.", ("code",)),
    "rerank_rejections_total": (
        "Number of scoring requests that were rejected, or ended before their scores were computed.",
        ("reason",),
    ),
    "rerank_pairs_total": ("Number of pairs of a query and a document that were answered with a score.", ()),
    "rerank_truncated_pairs_total": ("Number of scored pairs of which a part was not read.", ()),
    "rerank_input_tokens_total": ("Number of tokens in requests that were answered with scores.", ()),
    "rerank_cache_hits_total": ("Number of scored pairs whose score was found in the cache.", ()),
    "rerank_cache_misses_total": ("Number of scored pairs whose score was not found in the cache.", ()),
    "rerank_batches_total": ("Number of forward passes of the model.", ()),
    "rerank_batch_failures_total": ("Number of forward passes of the model that failed.", ()),
    "rerank_tokens_total": ("Number of tokens that were computed in forward passes of the model.", ()),
}

# Name: description, labels, upper bounds of the buckets.
_HISTOGRAMS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "rerank_request_seconds": (
        "Time from arrival to answer of a request, in seconds.",
        ("route",),
        _REQUEST_SECONDS,
    ),
    "rerank_tokenize_seconds": ("Time that a scoring request spent in tokenization, in seconds.", (), _REQUEST_SECONDS),
    "rerank_queue_seconds": (
        "Time that a scoring request waited in the queue, in seconds.",
        (),
        _REQUEST_SECONDS,
    ),
    "rerank_forward_seconds": (
        "Time that a scoring request spent in forward passes of the model, in seconds.",
        (),
        _REQUEST_SECONDS,
    ),
    "rerank_request_pairs": ("Number of pairs in a scoring request.", (), _NUMBERS),
    "rerank_request_tokens": ("Number of tokens in a scoring request.", (), _TOKENS),
    "rerank_batch_seconds": ("Duration of a forward pass of the model, in seconds.", (), _BATCH_SECONDS),
    "rerank_batch_sequences": (
        "Number of sequences in a forward pass; a pair has one, or several for a bi-encoder or a long document.",
        (),
        _NUMBERS,
    ),
    "rerank_batch_tokens": ("Number of tokens in a forward pass of the model.", (), _TOKENS),
    "te_request_duration": (
        "Time from the arrival of a scoring request to its scores, in seconds.",
        (),
        _REQUEST_SECONDS,
    ),
}

# The gauges of ``watch``: each is exposed as rerank_NAME once a function that reads it is given.
_GAUGES: dict[str, str] = {
    "queue_pairs": "Number of sequences that wait for the model: one for a pair, two for a pair of a bi-encoder.",
    "queue_tokens": "Number of tokens that wait for the model; estimated for texts that are not tokenized yet.",
    "in_flight_pairs": "Number of pairs of all requests in the server.",
    "in_flight_tokens": "Number of tokens of all requests in the server.",
    "capacity_pairs": "Maximum number of pairs in the server at the same time.",
    "capacity_tokens": "Maximum number of tokens in the server at the same time.",
    "tokens_per_second": "Number of tokens that the model computes per second, measured over recent batches.",
    "model_ready": "1 while scoring requests are accepted, 0 otherwise.",
    "batch_age_seconds": "Time that the current batch, or the current tokenization, has taken so far, in seconds.",
    "event_loop_lag_seconds": "Longest delay of the event loop in the last 15 seconds, in seconds.",
    "body_bytes_in_flight": "Number of bytes of request bodies that are being received or decoded.",
    "log_lines_dropped": "Number of log lines that were dropped since the start, because their reader was too slow.",
    "cache_bytes": "Size of the cached scores in bytes.",
    "cache_entries": "Number of pairs with a cached score.",
}

# Metrics under the names of text-embeddings-inference, so that dashboards made for it work: our metric, and labels that
# are renamed. Its input length is of a text, ours of a request.
_THEIRS: dict[str, tuple[str, dict[str, str]]] = {
    "te_request_failure": ("rerank_errors_total", {"code": "err"}),
    "te_request_tokenization_duration": ("rerank_tokenize_seconds", {}),
    "te_request_queue_duration": ("rerank_queue_seconds", {}),
    "te_request_inference_duration": ("rerank_forward_seconds", {}),
    "te_request_input_length": ("rerank_request_tokens", {}),
    "te_batch_next_size": ("rerank_batch_sequences", {}),
    "te_batch_next_tokens": ("rerank_batch_tokens", {}),
}
_THEIR_COUNTERS = {
    "te_request_count": "Number of scoring requests.",
    "te_request_success": "Number of scoring requests that were answered with scores.",
}
# Beside these: te_queue_size and rerank_cache_hit_ratio (_Gauges), and process_*, python_* of prometheus_client.

_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
MEDIA_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset


class Metrics:
    """All metrics of one application. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, what, labels, registry=self._registry) for name, (what, labels) in _COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, what, labels, buckets=buckets, registry=self._registry)
            for name, (what, labels, buckets) in _HISTOGRAMS.items()
        }
        self._counters |= {
            name: Counter(name, what, ("method",), registry=None) for name, what in _THEIR_COUNTERS.items()
        }
        ours = self._counters | self._histograms
        for name, (original, labels) in (_THEIRS | {name: (name, {}) for name in _THEIR_COUNTERS}).items():
            self._registry.register(_Renamed(name, ours[original], labels))
        self._gauges = _Gauges(self._counters["rerank_cache_hits_total"], self._counters["rerank_cache_misses_total"])
        self._registry.register(self._gauges)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def request(self, record: RequestRecord) -> None:
        """Count a request that has been answered."""
        method = record.method if record.method in _METHODS else "other"
        self._count("rerank_requests_total", route=record.route, method=method, status=str(record.status))
        self._observe("rerank_request_seconds", record.total_seconds, route=record.route)
        if record.is_scoring:
            self._scoring(record)
        if record.rejection is not None:
            self.rejected(record.rejection)

    def rejected(self, reason: str) -> None:
        """Count a scoring request that was rejected or given up, by the reason, such as ``overloaded``."""
        self._count("rerank_rejections_total", reason=reason)

    def batch(self, *, sequences: int, tokens: int, seconds: float, failed: bool) -> None:
        """Count a forward pass."""
        self._count("rerank_batches_total")
        if failed:
            self._count("rerank_batch_failures_total")
        else:
            self._count("rerank_tokens_total", tokens)
        self._observe("rerank_batch_seconds", seconds)
        self._observe("rerank_batch_sequences", sequences)
        self._observe("rerank_batch_tokens", tokens)

    def watch(self, **gauges: Callable[[], float]) -> None:
        """Add gauges, each with the function that reads it. Raises ``TypeError`` for an unknown name."""
        unknown = gauges.keys() - _GAUGES.keys()
        if unknown:
            raise TypeError(f"no such gauge: {', '.join(sorted(unknown))}; known are {', '.join(_GAUGES)}")
        self._gauges.watched = self._gauges.watched | gauges  # a new one: the old may be being read

    def render(self) -> bytes:
        """Write all metrics in the text format of Prometheus."""
        return generate_latest(_WithoutCreated(self._registry))

    def _scoring(self, record: RequestRecord) -> None:
        self._count("te_request_count", method="rerank")
        if record.error is not None or not 200 <= record.status < 300:
            self._count("rerank_errors_total", code=record.error or f"http_{record.status}")
            return
        self._count("te_request_success", method="rerank")
        self._count("rerank_pairs_total", record.pairs)
        self._count("rerank_truncated_pairs_total", record.truncated)
        self._count("rerank_input_tokens_total", record.tokens)
        self._observe("te_request_duration", record.total_seconds)
        self._observe("rerank_request_pairs", record.pairs)
        self._observe("rerank_request_tokens", record.tokens)
        if self._gauges.has_cache:
            self._count("rerank_cache_hits_total", record.cached)
            self._count("rerank_cache_misses_total", record.pairs - record.cached)
        if record.cached < record.pairs:  # else the times are those of the cache, and hide those of the model
            self._observe("rerank_tokenize_seconds", record.tokenize_seconds)
            self._observe("rerank_queue_seconds", record.queue_seconds)
            self._observe("rerank_forward_seconds", record.forward_seconds)

    def _count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def _observe(self, name: str, value: float, /, **labels: str) -> None:
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)


class _Gauges(Collector):
    """The gauges that are watched, and those that are computed from others."""

    def __init__(self, hits: Counter, misses: Counter) -> None:
        self.watched: dict[str, Callable[[], float]] = {}
        self._hits = hits
        self._misses = misses

    @property
    def has_cache(self) -> bool:
        return "cache_bytes" in self.watched or "cache_entries" in self.watched

    def collect(self) -> Iterator[Metric]:
        values = {name: float(read()) for name, read in self.watched.items()}
        for name, value in values.items():
            yield GaugeMetricFamily(f"rerank_{name}", _GAUGES[name], value)
        if "queue_pairs" in values:
            yield GaugeMetricFamily("te_queue_size", _GAUGES["queue_pairs"], values["queue_pairs"])
        if self.has_cache:
            hits, misses = _value(self._hits), _value(self._misses)
            ratio = hits / (hits + misses) if hits else 0.0
            yield GaugeMetricFamily(
                "rerank_cache_hit_ratio",
                "Share of all scored pairs whose score was found in the cache, from 0 to 1.",
                ratio,
            )


class _Renamed(Collector):
    """A metric under another name. A counter becomes untyped, because the name of a counter has to end in _total."""

    def __init__(self, name: str, original: Counter | Histogram, labels: dict[str, str]) -> None:
        self._name = name
        self._original = original
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for original in self._original.collect():
            kind = "unknown" if original.type == "counter" else original.type
            metric = Metric(self._name, original.documentation, kind)
            for sample in original.samples:
                part = sample.name.removeprefix(original.name)
                labels = {self._labels.get(name, name): value for name, value in sample.labels.items()}
                metric.add_sample(self._name + part.removesuffix("_total"), labels, sample.value)
            yield metric


class _WithoutCreated(Collector):
    """The metrics without the creation times of counters, which the text format shows as a gauge beside each."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_created"]
            yield metric


def _value(counter: Counter) -> float:
    return next(iter(counter.collect())).samples[0].value
