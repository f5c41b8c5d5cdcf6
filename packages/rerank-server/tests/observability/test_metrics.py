"""What is counted, under which names."""

import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from rerank_core.testing.doubles import OverlapModel
from rerank_server.observability.metrics import Metrics
from rerank_server.observability.request_record import RequestRecord


def record(**fields: Any) -> RequestRecord:
    """A request that was answered with ten scores, three of them from a cache."""
    defaults: dict[str, Any] = {
        "request_id": "r-1",
        "method": "POST",
        "route": "/rerank",
        "status": 200,
        "pairs": 10,
        "tokens": 700,
        "cached": 3,
        "truncated": 1,
        "tokenize_seconds": 0.004,
        "queue_seconds": 0.03,
        "forward_seconds": 0.25,
        "total_seconds": 0.3,
    }
    return RequestRecord(**defaults | fields)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def names(metrics: Metrics) -> set[str]:
    return {name for name, _ in samples(metrics)}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_a_scored_request_is_counted_by_what_it_held(metrics: Metrics) -> None:
    metrics.request(record())

    assert value(metrics, "rerank_requests_total", route="/rerank", method="POST", status="200") == 1
    assert value(metrics, "rerank_pairs_total") == 10
    assert value(metrics, "rerank_truncated_pairs_total") == 1
    assert value(metrics, "rerank_input_tokens_total") == 700
    assert value(metrics, "rerank_request_seconds_sum", route="/rerank") == 0.3
    assert value(metrics, "rerank_request_pairs_sum") == 10
    assert value(metrics, "rerank_request_tokens_sum") == 700
    assert value(metrics, "rerank_tokenize_seconds_sum") == 0.004
    assert value(metrics, "rerank_queue_seconds_sum") == 0.03
    assert value(metrics, "rerank_forward_seconds_sum") == 0.25


def test_a_request_falls_into_the_bucket_of_its_duration(metrics: Metrics) -> None:
    metrics.request(record())

    assert value(metrics, "rerank_request_seconds_bucket", route="/rerank", le="0.2") == 0
    assert value(metrics, "rerank_request_seconds_bucket", route="/rerank", le="0.5") == 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [(429, "overloaded", "overloaded"), (499, None, "http_499"), (500, None, "http_500")],
)
def test_a_failed_request_is_an_error_and_nothing_else(
    metrics: Metrics, status: int, error: str | None, code: str
) -> None:
    """Its ten pairs were asked for, not scored; its times would hide those of requests that were."""
    metrics.request(record(status=status, error=error))

    assert value(metrics, "rerank_requests_total", route="/rerank", method="POST", status=str(status)) == 1
    assert value(metrics, "rerank_errors_total", code=code) == 1
    assert value(metrics, "rerank_pairs_total") == 0
    assert value(metrics, "rerank_queue_seconds_count") == 0


def test_a_page_is_a_request_and_not_a_scoring_one(metrics: Metrics) -> None:
    metrics.request(record(method="GET", route="/health", status=503))

    assert value(metrics, "rerank_requests_total", route="/health", method="GET", status="503") == 1
    assert "rerank_errors_total" not in names(metrics)
    assert "te_request_count" not in names(metrics)


def test_an_invented_method_does_not_become_a_label(metrics: Metrics) -> None:
    metrics.request(record(method="BREW", route="other", status=405))

    assert value(metrics, "rerank_requests_total", route="other", method="other", status="405") == 1


def test_rejections_are_counted_by_reason(metrics: Metrics) -> None:
    for reason in ("pairs", "deadline", "deadline"):
        metrics.rejected(reason)

    assert value(metrics, "rerank_rejections_total", reason="pairs") == 1
    assert value(metrics, "rerank_rejections_total", reason="deadline") == 2


def test_a_batch_is_counted_by_sequences_tokens_and_seconds(metrics: Metrics) -> None:
    metrics.batch(sequences=8, tokens=900, seconds=0.2, failed=False)

    assert value(metrics, "rerank_batches_total") == 1
    assert value(metrics, "rerank_batch_failures_total") == 0
    assert value(metrics, "rerank_tokens_total") == 900
    assert value(metrics, "rerank_batch_sequences_sum") == 8
    assert value(metrics, "rerank_batch_tokens_sum") == 900
    assert value(metrics, "rerank_batch_seconds_sum") == 0.2


def test_the_tokens_of_a_failed_batch_were_not_computed(metrics: Metrics) -> None:
    metrics.batch(sequences=8, tokens=900, seconds=0.2, failed=True)

    assert value(metrics, "rerank_batches_total") == 1
    assert value(metrics, "rerank_batch_failures_total") == 1
    assert value(metrics, "rerank_tokens_total") == 0


def test_batches_may_be_counted_from_several_threads(metrics: Metrics) -> None:
    def count() -> None:
        for _ in range(200):
            metrics.batch(sequences=1, tokens=3, seconds=0.001, failed=False)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert value(metrics, "rerank_batches_total") == 800
    assert value(metrics, "rerank_tokens_total") == 2400


def test_a_gauge_is_read_whenever_the_metrics_are(metrics: Metrics) -> None:
    waiting = [5]
    metrics.watch(queue_pairs=lambda: waiting[0], model_ready=lambda: True)
    before = value(metrics, "rerank_queue_pairs")
    waiting[0] = 7

    assert (before, value(metrics, "rerank_queue_pairs")) == (5, 7)
    assert value(metrics, "te_queue_size") == 7
    assert value(metrics, "rerank_model_ready") == 1


def test_a_gauge_that_nobody_watches_is_not_there(metrics: Metrics) -> None:
    metrics.watch(queue_pairs=lambda: 0)

    assert "rerank_queue_pairs" in names(metrics)
    assert not names(metrics) & {"rerank_queue_tokens", "rerank_cache_bytes", "rerank_cache_hit_ratio"}


def test_an_unknown_gauge_is_refused_with_those_that_are_known(metrics: Metrics) -> None:
    with pytest.raises(TypeError, match="no such gauge: queue_pears; known are queue_pairs, "):
        metrics.watch(queue_pears=lambda: 0)


def test_hits_and_misses_are_counted_where_there_is_a_cache(metrics: Metrics) -> None:
    metrics.watch(cache_bytes=lambda: 1000)
    before = value(metrics, "rerank_cache_hit_ratio")
    metrics.request(record())

    assert before == 0
    assert value(metrics, "rerank_cache_hits_total") == 3
    assert value(metrics, "rerank_cache_misses_total") == 7
    assert value(metrics, "rerank_cache_hit_ratio") == 0.3


def test_without_a_cache_nothing_is_missed(metrics: Metrics) -> None:
    metrics.request(record(cached=0))

    assert value(metrics, "rerank_cache_misses_total") == 0


def test_a_request_from_the_cache_alone_has_no_time_in_the_network(metrics: Metrics) -> None:
    metrics.request(record(cached=10, forward_seconds=0.0))

    assert value(metrics, "rerank_pairs_total") == 10
    assert value(metrics, "rerank_forward_seconds_count") == 0
    assert value(metrics, "rerank_queue_seconds_count") == 0


def test_dashboards_of_text_embeddings_inference_find_their_names(metrics: Metrics) -> None:
    metrics.watch(queue_pairs=lambda: 4)
    metrics.request(record())
    metrics.request(record(status=429, error="overloaded"))
    metrics.batch(sequences=8, tokens=900, seconds=0.2, failed=False)

    assert value(metrics, "te_request_count", method="rerank") == 2
    assert value(metrics, "te_request_success", method="rerank") == 1
    assert value(metrics, "te_request_failure", err="overloaded") == 1
    assert value(metrics, "te_request_duration_sum") == 0.3
    assert value(metrics, "te_request_duration_count") == 1
    assert value(metrics, "te_request_tokenization_duration_sum") == 0.004
    assert value(metrics, "te_request_queue_duration_sum") == 0.03
    assert value(metrics, "te_request_inference_duration_sum") == 0.25
    assert value(metrics, "te_request_inference_duration_bucket", le="0.5") == 1
    assert value(metrics, "te_request_input_length_sum") == 700
    assert value(metrics, "te_batch_next_size_sum") == 8
    assert value(metrics, "te_batch_next_tokens_sum") == 900
    assert value(metrics, "te_queue_size") == 4


async def test_the_answer_says_its_format_once(serve: Callable[..., AbstractAsyncContextManager[AsyncClient]]) -> None:
    async with serve(lambda _: OverlapModel()) as client:
        response = await client.get("/metrics")

    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_the_text_is_of_the_plain_format(metrics: Metrics) -> None:
    metrics.request(record())
    text = metrics.render()

    assert b"# TYPE rerank_requests_total counter\n" in text
    assert b"# TYPE te_request_count untyped\n" in text
    assert b"_created" not in text
    assert b"# EOF" not in text


def test_every_metric_is_described_once(metrics: Metrics) -> None:
    metrics.request(record())
    described = [line.split()[2] for line in metrics.render().decode().splitlines() if line.startswith("# TYPE ")]

    assert len(described) == len(set(described))
    assert "python_info" in described
    assert "python_gc_collections_total" in described


def test_two_applications_count_apart(metrics: Metrics) -> None:
    other = Metrics()
    metrics.rejected("pairs")

    assert "rerank_rejections_total" not in names(other)
