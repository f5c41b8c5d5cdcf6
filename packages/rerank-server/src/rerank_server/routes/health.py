"""Is it alive, is it ready, how is it."""

from __future__ import annotations

from litestar import Response, get, head
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from rerank_server import __version__
from rerank_server.lifecycle import Lifecycle
from rerank_server.settings import Settings


class Health(Struct):
    """``status`` is loading, healthy, draining or unhealthy."""

    status: str
    model_loaded: bool
    model_name: str
    device: str
    version: str


def health_routes(lifecycle: Lifecycle, settings: Settings) -> list[HTTPRouteHandler]:
    """``/health``, ``/readyz`` and ``/livez``, for GET and HEAD."""

    def status() -> int:
        return 200 if lifecycle.state == "healthy" else 503

    @get("/health", sync_to_thread=False)
    def health() -> Response[Health]:
        model = lifecycle.model
        body = Health(
            status=lifecycle.state,
            model_loaded=model is not None,
            model_name=model.info.title if model else settings.model,
            device=model.info.device if model else settings.device,
            version=__version__,
        )
        return Response(body, status_code=status())

    @head("/health", sync_to_thread=False)
    def health_head() -> Response[None]:
        return Response(None, status_code=status())

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[dict[str, str]]:
        return Response({"status": lifecycle.state}, status_code=status())

    @head("/readyz", sync_to_thread=False)
    def readyz_head() -> Response[None]:
        return Response(None, status_code=status())

    @get("/livez", sync_to_thread=False)
    def livez() -> dict[str, str]:
        return {"status": "alive"}

    @head("/livez", sync_to_thread=False)
    def livez_head() -> None:
        return None

    return [health, health_head, readyz, readyz_head, livez, livez_head]
