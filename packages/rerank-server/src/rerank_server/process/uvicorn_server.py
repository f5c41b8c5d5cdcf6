"""The server process: it listens, drains and ends, on uvicorn's lifespan and main loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from types import FrameType

import uvicorn
from rerank_core.errors import Unavailable
from rerank_core.scorer import StepwiseModel

from rerank_server.api_keys import reload_keys
from rerank_server.app import create_app
from rerank_server.http1.connection import Connection
from rerank_server.http1.descriptors import TooManyConnections, connection_limit
from rerank_server.http1.listener import Listener, ListenError, UnixSocket, listen_on_port
from rerank_server.http1.pool import Pool
from rerank_server.http1.serving import Serving
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.lifecycle.loading import load_model
from rerank_server.lifecycle.watchdog import ProcessExitTimer
from rerank_server.middleware.auth import ApiKeys
from rerank_server.routes.replies import error_body
from rerank_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_GRACE = 1.0  # seconds in which a request that came at the end of the drain is answered
_FLUSH_SECONDS = 5.0  # seconds to send the last answers
_TICK = 0.01  # seconds
_DRAINING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def serve(settings: Settings, *, load: Callable[[Settings], StepwiseModel] = load_model) -> int:
    """Serve until a signal ends the process.

    The first SIGTERM, SIGINT or SIGQUIT drains: requests in flight are answered, new ones are refused. The second one
    ends the process at once. SIGHUP reads the keys file again. Returns the exit code: 0 after a drain, 1 where it could
    not start, load its model or compute any more, 128 + the signal that ended it at once. Raises as ``create_app``.
    """
    for number in (signal.SIGTERM, signal.SIGQUIT):  # before the server starts: nothing has been accepted yet
        signal.signal(number, lambda *_: sys.exit(0))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # they would end the process
        signal.signal(number, signal.SIG_IGN)
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.end_soon()

    try:
        pool = Pool(connection_limit(settings.max_connections))
    except TooManyConnections as error:
        raise SettingsError(str(error)) from None
    app = create_app(settings, load=load, stop=stop, exit_timer=ProcessExitTimer())
    try:
        unix = UnixSocket(settings.uds, int(settings.uds_mode, 8)) if settings.uds else None
        sockets = [unix.socket] if unix else listen_on_port(settings.host, settings.port)
    except ListenError as error:
        print(f"rerank-server: {error}", file=sys.stderr)  # noqa: T201
        return 1
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        uds=settings.uds,
        loop="asyncio",  # deadlines are times of its clock
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # the telemetry middleware logs every request
        server_header=False,
    )
    server = _Server(config, settings, app.state.lifecycle, app.state.api_keys, pool, sockets, unix)
    try:
        server.run()
    except SystemExit as exit_:
        return 1 if exit_.code else 0
    finally:
        if unix:
            unix.remove()
    if server.ended_by is not None:
        return 128 + server.ended_by
    return 1 if failed else 0


class _Server(uvicorn.Server):
    """uvicorn's lifespan and main loop, with our own connections, signals and shutdown.

    The port stays open until the last request in flight is answered. So the health route answers ``draining``, and a
    load balancer that has not noticed yet gets an answer instead of a closed port.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Settings,
        lifecycle: Lifecycle,
        api_keys: ApiKeys,
        pool: Pool,
        sockets: list[socket.socket],
        unix: UnixSocket | None,
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._lifecycle = lifecycle
        self._api_keys = api_keys
        self._pool = pool
        self._sockets = sockets
        self._unix = unix
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        self._loop = asyncio.get_running_loop()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        serving = Serving(
            app=self.config.loaded_app,
            pool=self._pool,
            receive_timeout=self._settings.receive_timeout,
            keep_alive_seconds=self._settings.keep_alive_seconds,
            state=self.lifespan.state,
            default_headers=lambda: self.server_state.default_headers,
            unavailable=self._unavailable,
        )
        self._listener = Listener(self._sockets, self._pool, lambda: Connection(serving))
        self._listener.start()
        self._log_started_message(self._sockets)
        for number in (*_DRAINING_SIGNALS, signal.SIGHUP):  # uvicorn knows only two of them
            signal.signal(number, self.handle_exit)
        self.started = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Read the keys again at SIGHUP. Drain at the first other signal, end at the second."""
        if self._loop is not None and self._loop.is_closed():  # it has ended
            return
        if self._loop is None:  # nothing has been accepted yet
            self.should_exit = True
        elif sig == signal.SIGHUP:
            self._loop.call_soon_threadsafe(self._begin, self._reload_keys)
        elif not self._draining:
            self._draining = True
            self._loop.call_soon_threadsafe(self._begin, self._drain)
        else:
            self.ended_by = sig
            self.should_exit = self.force_exit = True

    def _begin(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_keys(self) -> None:
        await asyncio.to_thread(reload_keys, self._settings, self._api_keys)

    async def _drain(self) -> None:
        self._pool.draining = True
        prestop, limit = self._settings.prestop_seconds, self._settings.drain_seconds
        draining = asyncio.create_task(self._lifecycle.drain(prestop=prestop, limit=limit))
        done, _ = await asyncio.wait({draining}, timeout=prestop + limit)
        if not done:
            self._refuse_arriving()  # clients that have not sent their request by now
        self.force_exit = not await draining
        self.end_soon()

    def _refuse_arriving(self) -> None:
        for member in self._pool:
            member.refuse_arriving()

    def _unavailable(self, path: str, message: str) -> bytes:
        return error_body(path.removeprefix(self._settings.root_path), Unavailable(message))

    def end_soon(self) -> None:
        """End, and wait only a few seconds for clients that do not read their answers."""
        self._pool.draining = True
        self.should_exit = True
        asyncio.get_running_loop().call_later(_GRACE + _FLUSH_SECONDS, setattr, self, "force_exit", True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, answer the last requests, close silent connections, and wait for the others."""
        logger.info("shutting down")
        if self._unix is not None:
            self._unix.remove()
        await self._listener.close()
        # No new connection is opened. On the open ones, a request may be on its way.
        await self._until(lambda: not len(self._pool), _GRACE)
        self._refuse_arriving()
        for member in self._pool:
            member.close_if_silent()
        await self._until(lambda: not len(self._pool) and not self._pool.tasks, _FLUSH_SECONDS)
        for member in self._pool:
            member.abort()
        if not self.force_exit:
            await self.lifespan.shutdown()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not condition() and not self.force_exit and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
