"""The application: it puts all parts together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from rerank_core.scorer import StepwiseModel

from rerank_server.api_keys import ApiKeys, read_keys
from rerank_server.asgi import ASGIApp, Receive, Send
from rerank_server.dialects.routing import PREFIXES
from rerank_server.inference.limits import Limits
from rerank_server.inference.service import Service
from rerank_server.lifecycle.lifecycle import Lifecycle, OnFatal
from rerank_server.lifecycle.loading import LoadedModel, load_model
from rerank_server.lifecycle.watchdog import ExitTimer
from rerank_server.middleware.cors import CorsMiddleware
from rerank_server.middleware.dialect_prefix import DialectPrefixMiddleware
from rerank_server.middleware.methods import AllowedMethods, OptionsMiddleware
from rerank_server.middleware.origins import Origins
from rerank_server.middleware.response_headers import NoSniffMiddleware
from rerank_server.middleware.root_path import RootPathMiddleware
from rerank_server.middleware.telemetry import TIMING_HEADERS, LoopLag, TelemetryMiddleware
from rerank_server.observability.logs import dropped_lines
from rerank_server.observability.metrics import Metrics
from rerank_server.observability.tracing import close_within, open_tracing
from rerank_server.routes.authentication import require_key
from rerank_server.routes.body.budget import BodyBudget
from rerank_server.routes.docs import docs_routes
from rerank_server.routes.exceptions import exception_handlers
from rerank_server.routes.health import health_routes
from rerank_server.routes.info import info_routes
from rerank_server.routes.metrics import metrics_routes
from rerank_server.routes.models import model_routes
from rerank_server.routes.playground import playground_routes
from rerank_server.routes.replies import error_body
from rerank_server.routes.scoring import scoring_routes
from rerank_server.settings import Settings

_FLUSH_SECONDS = 2.0  # to send the last spans


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Application:
    """The ASGI application, and those of its parts that the code around it needs.

    - ``paths``: the paths of all routes, as they are registered: ``/v1/models/{name:path}`` has a parameter.
    - ``asgi``: the routes with all middleware around them.
    - ``lifespan``: runs the application for the time of a ``with``, where no server sends the events of the lifespan.
    """

    settings: Settings
    lifecycle: Lifecycle
    api_keys: ApiKeys
    metrics: Metrics
    paths: frozenset[str] = field(repr=False)
    asgi: ASGIApp = field(repr=False)
    lifespan: Callable[[], AbstractAsyncContextManager[None]] = field(repr=False)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection, or the events of the lifespan."""
        await self.asgi(scope, receive, send)


def create_app(
    settings: Settings,
    *,
    load: Callable[[Settings], StepwiseModel] = load_model,
    stop: Callable[[], None] | None = None,
    exit_timer: ExitTimer | None = None,
) -> Application:
    """Make the ASGI application.

    ``load`` loads the model, in a thread of its own while the application already answers. ``stop`` is called where it
    fails, or the model cannot compute any more, and should end the process; by default it sends SIGTERM. ``exit_timer``
    ends a process in which no Python code runs any more; without it nothing does. Raises ``SettingsError`` and
    ``MissingExtra`` for settings that do not work here.
    """
    metrics, tracing = Metrics(), open_tracing(settings.otlp_endpoint)

    def serve(loaded: LoadedModel, on_fatal: OnFatal) -> Service:
        service = Service(
            loaded.model,
            max_pairs=settings.max_queue_pairs,
            max_tokens=settings.max_queue_tokens,
            max_text_chars=settings.max_text_chars,
            cache=loaded.cache,
            on_batch=metrics.batch,
            on_fatal=on_fatal,
        )
        _watch(metrics, service)
        return service

    lifecycle = Lifecycle(
        lambda: LoadedModel.of(load(settings), settings),
        serve,
        stop or _terminate,
        stuck_seconds=settings.stuck_seconds,
        exit_timer=exit_timer,
    )
    api_keys = ApiKeys(read_keys(settings))
    limits = Limits(
        max_documents=settings.max_documents,
        max_text_chars=settings.max_text_chars,
        max_body_bytes=settings.max_body_bytes,
        strict_model=settings.model if settings.strict_model else None,
    )
    budget = BodyBudget(settings.max_body_bytes_in_flight or 16 * settings.max_body_bytes)
    metrics.watch(model_ready=lambda: lifecycle.state == "healthy", batch_age_seconds=lambda: lifecycle.batch_age)
    metrics.watch(body_bytes_in_flight=lambda: budget.bytes, log_lines_dropped=dropped_lines)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            async with lifecycle.run(), _measured_lag(metrics):
                yield
        finally:
            await close_within(_FLUSH_SECONDS, tracing)

    handlers = [
        *health_routes(lifecycle, settings),
        *info_routes(lifecycle, settings),
        *model_routes(lifecycle, settings),
        *scoring_routes(lifecycle, limits, settings.timeout, budget),
        *metrics_routes(metrics, is_open=not settings.metrics_auth),
        *docs_routes(),
        *playground_routes(),
    ]
    methods = AllowedMethods(_methods_by_path(handlers), prefixes=PREFIXES.keys())
    framework = Litestar(
        route_handlers=handlers,
        lifespan=[lifespan],
        guards=[require_key(api_keys)],
        exception_handlers=exception_handlers(methods),
        request_max_body_size=settings.max_body_bytes,
        openapi_config=None,  # routes/openapi.py makes it: the routes read their bodies themselves
        logging_config=None,  # __main__ configures it
        debug=False,
    )
    paths = frozenset(route.path for route in framework.routes)
    # Around the framework, from the inside to the outside: its own middleware runs inside a route only.
    app: ASGIApp = OptionsMiddleware(framework, methods)
    app = CorsMiddleware(
        app,
        origins=Origins(settings.origins),
        exposed=("Retry-After", "X-Request-ID", "traceparent", *TIMING_HEADERS),
        error_body=error_body,
    )
    app = TelemetryMiddleware(app, routes=paths, metrics=metrics, tracing=tracing)
    app = NoSniffMiddleware(app)
    app = DialectPrefixMiddleware(app, methods)
    app = RootPathMiddleware(app, root=settings.root_path)
    return Application(
        settings=settings,
        lifecycle=lifecycle,
        api_keys=api_keys,
        metrics=metrics,
        paths=paths,
        asgi=app,
        lifespan=framework.lifespan,
    )


def _watch(metrics: Metrics, service: Service) -> None:
    scheduler, admission, cache = service.scheduler, service.admission, service.cache
    metrics.watch(
        queue_pairs=lambda: scheduler.waiting_sequences,
        queue_tokens=lambda: service.waiting_tokens,
        in_flight_pairs=lambda: admission.pairs,
        in_flight_tokens=lambda: admission.tokens,
        capacity_pairs=lambda: admission.max_pairs,
        capacity_tokens=lambda: admission.max_tokens,
        tokens_per_second=lambda: scheduler.tokens_per_second or 0.0,
    )
    if cache is not None:
        metrics.watch(cache_bytes=lambda: cache.bytes, cache_entries=lambda: len(cache))


@asynccontextmanager
async def _measured_lag(metrics: Metrics) -> AsyncIterator[None]:
    lag = LoopLag()
    metrics.watch(event_loop_lag_seconds=lambda: lag.seconds)
    task = asyncio.create_task(lag.run())
    try:
        yield
    finally:
        task.cancel()


def _methods_by_path(handlers: Iterable[HTTPRouteHandler]) -> dict[str, set[str]]:
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, set()).update(str(method) for method in handler.http_methods)
    return methods


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
