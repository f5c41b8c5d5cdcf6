"""The process: it listens, and it ends as it is told."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from types import FrameType

import uvicorn
from rerank_core.scorer import PairModel

from rerank_server.app import create_app
from rerank_server.model import load_model
from rerank_server.receiving import receiving_protocol
from rerank_server.settings import Settings
from rerank_server.watchdog import ExitTimer

_LAST_WORDS = 5.0  # seconds to send answers that are made already


def serve(settings: Settings, *, load: Callable[[Settings], PairModel] = load_model) -> int:
    """Serve until told to stop.

    The first SIGTERM or SIGINT drains: requests in flight are answered, new ones refused. The second ends at once.
    Gives the exit code: 0 stopped as asked, 1 it could not begin, not load its model or not compute any more, 128 + the
    signal that ended it at once. Raises as ``create_app``.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there is a server: nothing has been accepted yet
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.end_soon()

    app = create_app(settings, load=load, stop=stop, deadman=ExitTimer())
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        uds=settings.uds,
        http=receiving_protocol(settings.receive_timeout),
        loop="asyncio",  # deadlines are times of its clock
        lifespan="on",
        log_config=None,
        access_log=False,  # telemetry.py has a line for every request
        server_header=False,
    )
    drain = partial(app.state.lifecycle.drain, prestop=settings.prestop_seconds, limit=settings.drain_seconds)
    server = _Server(config, drain)
    try:
        server.run()
    except SystemExit as exit_:
        if exit_.code:  # uvicorn has logged why
            where, ours = (
                (settings.uds, "RERANK_UDS") if settings.uds else (f"{settings.host}:{settings.port}", "HOST or PORT")
            )
            print(f"rerank-server: cannot listen on {where}, the log says why: set {ours}", file=sys.stderr)  # noqa: T201
        return 1 if exit_.code else 0
    if server.ended_by is not None:
        return 128 + server.ended_by
    return 1 if failed else 0


class _Server(uvicorn.Server):
    """uvicorn closes its port as soon as it is told to stop; here it stays open until the last request is answered.

    So health says ``draining``, and a balancer that has not noticed yet gets an answer instead of a closed port.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Coroutine[None, None, bool]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._told = False
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the loop that a signal has to reach."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self._loop is None:  # nothing has been accepted yet
            self.should_exit = True
        elif not self._told:
            self._told = True
            self._loop.call_soon_threadsafe(self._begin)
        else:
            self.ended_by = sig
            self.should_exit = self.force_exit = True

    def _begin(self) -> None:
        self._draining = asyncio.create_task(self._end())

    async def _end(self) -> None:
        finished = await self._drain()
        self.force_exit = not finished
        self.end_soon()

    def end_soon(self) -> None:
        """End, and wait only so long for clients that do not read their answers: uvicorn would wait for ever."""
        self.should_exit = True
        asyncio.get_running_loop().call_later(_LAST_WORDS, setattr, self, "force_exit", True)
