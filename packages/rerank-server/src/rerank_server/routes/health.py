"""Liveness, readiness, and the state of the server."""

from __future__ import annotations

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from rerank_server import __version__
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.settings import Settings


class Health(Struct):
    """The state of the server: ``status`` is loading, healthy, draining, stuck or unhealthy."""

    status: str
    model_loaded: bool
    model_name: str
    device: str
    dtype: str
    version: str


def health_routes(lifecycle: Lifecycle, settings: Settings) -> list[HTTPRouteHandler]:
    """``/health``; ``/readyz``, also as SageMaker's ``/ping``; ``/livez``; and both as NIM's ``/v1/health/...``."""

    def status() -> int:
        return 200 if lifecycle.state == "healthy" else 503

    def health(_: AnyRequest) -> Response[Health]:
        model = lifecycle.model
        body = Health(
            status=lifecycle.state,
            model_loaded=model is not None,
            model_name=model.info.title if model else settings.model,
            device=model.info.device if model else settings.device,
            dtype=model.info.dtype if model else settings.dtype,
            version=__version__,
        )
        return Response(body, status_code=status())

    def readyz(_: AnyRequest) -> Response[dict[str, str]]:
        return Response({"status": lifecycle.state}, status_code=status())

    def livez(_: AnyRequest) -> Response[dict[str, str]]:
        return Response({"status": "alive"})

    return [
        *get_and_head("/health", health, is_open=True),
        *get_and_head("/readyz", readyz, is_open=True),
        *get_and_head("/ping", readyz, is_open=True),
        *get_and_head("/livez", livez, is_open=True),
        *get_and_head("/v1/health/ready", readyz, is_open=True),
        *get_and_head("/v1/health/live", livez, is_open=True),
    ]
