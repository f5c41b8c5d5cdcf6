"""The application, put together. Wiring, nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from litestar import Litestar, Response
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from rerank_core.scorer import PairModel

from rerank_server.lifecycle import Lifecycle
from rerank_server.model import load_model
from rerank_server.question import Limits
from rerank_server.routes.docs import docs_routes
from rerank_server.routes.get import AnyRequest
from rerank_server.routes.health import health_routes
from rerank_server.routes.info import info_routes
from rerank_server.routes.scoring import scoring_routes
from rerank_server.settings import Settings


def create_app(
    settings: Settings,
    *,
    load: Callable[[Settings], PairModel] = load_model,
    stop: Callable[[], None] | None = None,
) -> Litestar:
    """The server as an ASGI application.

    ``load`` makes the model, in a thread of its own while the application already answers. ``stop`` is called where
    that fails, and should end the process; by default it is sent SIGTERM.
    """
    lifecycle = Lifecycle(partial(load, settings), stop or _terminate)
    limits = Limits(
        max_documents=settings.max_documents,
        max_text_chars=settings.max_text_chars,
        max_body_bytes=settings.max_body_bytes,
    )
    return Litestar(
        route_handlers=[
            *health_routes(lifecycle, settings),
            *info_routes(lifecycle, settings),
            *scoring_routes(lifecycle, limits),
            *docs_routes(),
        ],
        lifespan=[lambda _: lifecycle.run()],
        state=State({"lifecycle": lifecycle}),
        exception_handlers={HTTPException: _refusal},
        cors_config=_cors(settings.origins),
        request_max_body_size=settings.max_body_bytes,
        openapi_config=None,  # openapi.py writes it: the routes read their bodies themselves
        logging_config=None,  # __main__ configures it
        debug=False,
    )


def _refusal(_: AnyRequest, error: HTTPException) -> Response[dict[str, str]]:
    """An unknown path or method, in the shape of the documented API."""
    return Response({"detail": HTTPStatus(error.status_code).phrase}, status_code=error.status_code)


def _cors(origins: tuple[str, ...]) -> CORSConfig:
    named = origins != ("*",)
    headers = ["Accept", "Content-Type", "X-Request-ID"]
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        allow_headers=[*headers, "Authorization"] if named else headers,
        allow_credentials=named,
        expose_headers=["Retry-After"],
    )


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
