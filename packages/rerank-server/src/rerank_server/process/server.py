"""The server process: it listens, drains and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from rerank_core.errors import Unavailable
from rerank_core.scorer import StepwiseModel

from rerank_server.api_keys import reload_keys
from rerank_server.app import Application, create_app
from rerank_server.asgi import ASGIApp
from rerank_server.http1.connection import Connection
from rerank_server.http1.descriptors import TooManyConnections, connection_limit
from rerank_server.http1.listener import Listener, ListenError, UnixSocket, listen_on_port
from rerank_server.http1.pool import Pool
from rerank_server.http1.serving import Serving
from rerank_server.lifecycle.loading import load_model
from rerank_server.lifecycle.watchdog import ProcessExitTimer
from rerank_server.process.uvicorn_server import UvicornServer
from rerank_server.routes.replies import error_body
from rerank_server.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_GRACE = 1.0  # seconds in which a request that came at the end of the drain is answered
_FLUSH_SECONDS = 5.0  # seconds to send the last answers
_TICK = 0.01  # seconds


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
        process.end_soon()

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
    process = _Process(app, pool, sockets, unix)
    try:
        process.run()
    except SystemExit as exit_:
        return 1 if exit_.code else 0
    finally:
        if unix:
            unix.remove()
        for listening in sockets:  # those of a server that has not started
            listening.close()
    if process.ended_by is not None:
        return 128 + process.ended_by
    return 1 if failed else 0


class _Process:
    """The connections, signals and shutdown of a server process, as the hooks of uvicorn's main loop.

    The port stays open until the last request in flight is answered. So the health route answers ``draining``, and a
    load balancer that has not noticed yet gets an answer instead of a closed port.
    """

    def __init__(self, app: Application, pool: Pool, sockets: list[socket.socket], unix: UnixSocket | None) -> None:
        self._app = app
        self._settings = app.settings
        self._pool = pool
        self._sockets = sockets
        self._unix = unix
        self._server = UvicornServer(app, self)
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended_by: int | None = None

    def run(self) -> None:
        """Run until the end. Raises ``SystemExit`` where the application does not start."""
        signal.signal(signal.SIGQUIT, self._server.handle_exit)  # uvicorn takes SIGTERM and SIGINT
        self._server.run()

    # Hooks of the main loop.

    def start(self, app: ASGIApp, state: dict[str, Any]) -> None:
        """Accept connections."""
        self._loop = asyncio.get_running_loop()
        serving = Serving(
            app=app,
            pool=self._pool,
            receive_timeout=self._settings.receive_timeout,
            keep_alive_seconds=self._settings.keep_alive_seconds,
            state=state,
            default_headers=lambda: self._server.default_headers,
            unavailable=self._unavailable,
        )
        self._listener = Listener(self._sockets, self._pool, lambda: Connection(serving))
        self._listener.start()
        logger.info("listening on %s", ", ".join(map(_address, self._sockets)))
        signal.signal(signal.SIGHUP, self._server.handle_exit)

    def on_signal(self, number: int) -> None:
        """Read the keys again at SIGHUP. Drain at the first other signal, end at the second."""
        if self._loop is None:  # nothing has been accepted yet
            self._server.stop()
        elif self._loop.is_closed():  # it has ended
            return
        elif number == signal.SIGHUP:
            self._loop.call_soon_threadsafe(self._begin, self._reload_keys)
        elif not self._draining:
            self._draining = True
            self._loop.call_soon_threadsafe(self._begin, self._drain)
        else:
            self.ended_by = number
            self._server.stop()
            self._server.abandon()

    async def end(self) -> None:
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

    # Draining.

    def end_soon(self) -> None:
        """End, and wait only a few seconds for clients that do not read their answers."""
        self._pool.draining = True
        self._server.stop()
        asyncio.get_running_loop().call_later(_GRACE + _FLUSH_SECONDS, self._server.abandon)

    def _begin(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_keys(self) -> None:
        await asyncio.to_thread(reload_keys, self._settings, self._app.api_keys)

    async def _drain(self) -> None:
        self._pool.draining = True
        prestop, limit = self._settings.prestop_seconds, self._settings.drain_seconds
        draining = asyncio.create_task(self._app.lifecycle.drain(prestop=prestop, limit=limit))
        done, _ = await asyncio.wait({draining}, timeout=prestop + limit)
        if not done:
            self._refuse_arriving()  # clients that have not sent their request by now
        if not await draining:
            self._server.abandon()
        self.end_soon()

    def _refuse_arriving(self) -> None:
        for member in self._pool:
            member.refuse_arriving()

    def _unavailable(self, path: str, message: str) -> bytes:
        return error_body(path.removeprefix(self._settings.root_path), Unavailable(message))

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not condition() and not self._server.is_abandoned and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)


def _address(listening: socket.socket) -> str:
    """The address of a socket for the log, as a URL; the path of a Unix socket."""
    if listening.family == socket.AF_UNIX:
        return f"the socket {listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
