"""The server on Ray Serve: the same application in every replica, and a number of replicas that follows the load.

    python -m rerank_server.ray max_replicas=4                                # a cluster on this machine
    serve run rerank_server.ray:build MODEL_NAME=lite max_replicas=4          # one that is there

Serve distributes requests to replicas. In a replica, our own scheduler batches them by tokens, and our own admission
control refuses them when there are too many. A replica accepts requests when its model is loaded. Its health is that of
``/health``, and Serve replaces one that is not healthy.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from rerank_core.errors import MissingExtra, ModelError

from rerank_server.app import Application, create_app
from rerank_server.asgi import ASGIApp, Message, Receive, Send
from rerank_server.lifecycle.lifecycle import Lifecycle, State
from rerank_server.lifecycle.loading import load_model
from rerank_server.observability.logs import configure_logging
from rerank_server.settings import Settings, SettingsError

NAME = "rerank"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOK = 0.5  # seconds between two looks for a signal
_POLL = 0.05  # seconds between two checks of a model that warms up
_HEALTH_PERIOD = 5.0  # seconds; Serve replaces a replica after three in a row
_FLUSH_SECONDS = 5.0  # seconds to send the last answers


class Scale(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number of replicas, and the resources of each.

    - ``min_replicas``, ``max_replicas``: between which Serve keeps their number.
    - ``target_ongoing_requests``: that a replica should have at once; above it Serve starts more of them.
    - ``max_ongoing_requests``: that a replica is given at once. Well above the target, so that its scheduler sees what
      waits, and its admission decides how much is too much.
    - ``num_cpus``, ``num_gpus``: of the cluster, that a replica takes. The threads of the network are ``num_cpus``,
      unless ``RERANK_THREADS`` says otherwise.
    """

    min_replicas: Annotated[int, Meta(ge=1)] = 1
    max_replicas: Annotated[int, Meta(ge=1)] = 1
    target_ongoing_requests: Annotated[float, Meta(gt=0)] = 16.0
    max_ongoing_requests: Annotated[int, Meta(ge=1)] = 256
    num_cpus: Annotated[float, Meta(gt=0)] = 1.0
    num_gpus: Annotated[float, Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        """Refuse values that contradict each other."""
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas is {self.min_replicas}, more than max_replicas, {self.max_replicas}")


class Replica:
    """A replica: the application in a process of Serve."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lifecycle: Lifecycle | None = None

    async def __serve_build_asgi_app__(self) -> Application:
        """Load the model and make the application: here, because it cannot be sent between processes."""
        settings = self._settings
        configure_logging(settings.log_level, settings.log_format)
        model = await asyncio.to_thread(load_model, settings)
        # Serve ends the process, by its health check.
        app = create_app(settings, load=lambda _: model, stop=lambda: None)
        self._lifecycle = app.lifecycle
        return replace(app, asgi=_WithoutRequestId(app.asgi))

    async def check_health(self) -> None:
        """Check the health, before the first request and then periodically. Raises ``ModelError`` if it is broken."""
        while self._state == "loading":  # noqa: ASYNC110 (for the moment that a first batch takes, once)
            await asyncio.sleep(_POLL)
        if self._state in {"unhealthy", "stuck"}:
            raise ModelError("the model cannot compute: the replica's log says why")

    @property
    def _state(self) -> State:
        return self._lifecycle.state if self._lifecycle else "loading"


class _WithoutRequestId:
    """ASGI: removes our ``X-Request-ID`` from a response, because Serve adds the same one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, send_on)


def build(arguments: Mapping[str, Any]) -> Any:
    """Make the Serve application, for ``serve run`` and Serve's configuration files.

    ``arguments`` in small letters are fields of ``Scale``; others are settings, such as ``MODEL_NAME``, which go before
    those of the environment. Raises ``SettingsError`` for one that is neither or cannot be, and ``MissingExtra`` where
    Ray Serve is not installed.
    """
    settings, scale = read(arguments, os.environ)
    return _bound(_serve(), settings, scale)


def _bound(serve: Any, settings: Settings, scale: Scale) -> Any:  # pragma: no cover (on Ray: tests/test_ray.py)
    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": scale.num_cpus, "num_gpus": scale.num_gpus},
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": scale.target_ongoing_requests,
        },
        max_ongoing_requests=scale.max_ongoing_requests,
        health_check_period_s=_HEALTH_PERIOD,
        # Serve itself sends no more requests to a replica that ends, and waits for those that it has.
        graceful_shutdown_timeout_s=settings.drain_seconds + _FLUSH_SECONDS,
    )(serve.ingress()(Replica))
    return deployment.bind(settings)


def read(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Settings, Scale]:
    """Read settings and scale from the arguments of ``build``. Raises ``SettingsError``."""
    scaling = {name: value for name, value in arguments.items() if name in Scale.__struct_fields__}
    given = {name: str(value) for name, value in arguments.items() if name not in scaling}
    for name in given:
        if name != name.upper():
            known = ", ".join(Scale.__struct_fields__)
            raise SettingsError(f"{name} is no argument: use one of {known}, or a setting such as MODEL_NAME")
    try:
        scale = msgspec.convert(scaling, Scale, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{error}: of {scaling}") from error
    # A replica has the CPUs that it is given and the memory of wherever it runs: not those of this machine.
    cpus = max(os.cpu_count() or 1, int(scale.num_cpus))
    settings = Settings.from_env({**environ, **given}, cpus=cpus, memory=sys.maxsize)
    if settings.threads is None:
        settings = msgspec.structs.replace(settings, threads=max(1, int(scale.num_cpus)))
    return settings, scale


def main(argv: Sequence[str] | None = None) -> int:
    """Run on a Ray of this machine until interrupted: ``NAME=VALUE ...``, as ``build`` takes them."""
    arguments: dict[str, str] = {}
    for argument in sys.argv[1:] if argv is None else argv:
        name, separator, value = argument.partition("=")
        if not separator:
            print(f"rerank_server.ray: {argument!r} is not NAME=VALUE", file=sys.stderr)  # noqa: T201
            return 2
        arguments[name] = value
    try:
        settings, _ = read(arguments, os.environ)
        if settings.uds is not None or settings.port == 0:
            raise SettingsError("Ray Serve listens at HOST and PORT: set PORT, and leave out RERANK_UDS")
        return _serve_until_stopped(build(arguments), settings)
    except SettingsError as error:
        print(f"rerank_server.ray: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except MissingExtra as error:
        print(f"rerank_server.ray: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _serve_until_stopped(application: Any, settings: Settings) -> int:  # pragma: no cover (on Ray: tests/test_ray.py)
    try:
        _start_serve(host=settings.host, port=settings.port)
        _run_until_signal(lambda: _serve().run(application, name=NAME))
    except KeyboardInterrupt:
        return 130
    _serve().delete(NAME)  # waits for requests in flight, as shutdown does not
    _serve().shutdown()
    import_module("ray").shutdown()
    return 0


def serve_here(  # pragma: no cover (on Ray: tests/test_ray.py)
    application: Any, *, host: str, port: int, **ray_options: Any
) -> None:
    """Serve at an address, on the Ray that is initialised here, or else one that is begun with ``ray_options``.

    Comes back when the first replica takes requests. Raises ``RuntimeError`` where none does.
    """
    _start_serve(host=host, port=port, **ray_options)
    _serve().run(application, name=NAME)


def _start_serve(*, host: str, port: int, **ray_options: Any) -> None:  # pragma: no cover (on Ray: tests/test_ray.py)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # its telemetry
    ray, serve = import_module("ray"), _serve()
    if not ray.is_initialized():
        ray.init(address="local", include_dashboard=False, **ray_options)
    serve.start(http_options={"host": host, "port": port})


class _Stopped(BaseException):
    """A signal asks for the end."""


def _run_until_signal(run: Callable[[], object]) -> None:
    """Run, and wait, until a signal ends either. Ray has set handlers of its own, which abort the process."""
    try:
        for number in _SIGNALS:
            signal.signal(number, _stop)
        run()
        while True:  # a signal that comes just before Python sleeps is seen when it wakes
            time.sleep(_LOOK)
    except _Stopped:
        pass


def _stop(*_: object) -> None:
    for number in _SIGNALS:  # once: the end takes a moment
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


def _serve() -> Any:
    try:
        return import_module("ray.serve")
    except ModuleNotFoundError as missing:
        if missing.name != "ray":
            raise
        raise MissingExtra.needs("Ray Serve is not installed", "rerank-server[ray]") from missing


if __name__ == "__main__":
    from rerank_server.ray import main as run  # classes of __main__ would be sent to replicas whole

    sys.exit(run())
