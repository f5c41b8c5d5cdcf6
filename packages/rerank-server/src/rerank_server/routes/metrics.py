"""The route that Prometheus reads."""

from __future__ import annotations

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from rerank_server.observability.metrics import MEDIA_TYPE, Metrics
from rerank_server.routes.get import AnyRequest, get_and_head


def metrics_routes(metrics: Metrics, *, is_open: bool) -> list[HTTPRouteHandler]:
    """``/metrics``. ``is_open``: it needs no API key."""

    def answer(_: AnyRequest) -> Response[bytes]:
        return Response(metrics.render(), media_type=MEDIA_TYPE)

    return get_and_head("/metrics", answer, is_open=is_open)
