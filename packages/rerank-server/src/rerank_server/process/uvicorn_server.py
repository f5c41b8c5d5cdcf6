"""uvicorn's part of the server process: the event loop, the application's lifespan, and the main loop.

The only module that subclasses uvicorn (docs/decisions/0014-uvicorn.md). ``tests/process/test_uvicorn_server.py`` pins
what it relies on.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Protocol

import uvicorn

from rerank_server.asgi import ASGIApp


class Hooks(Protocol):
    """The parts of a server process that are not uvicorn's, in the order in which they are called."""

    def start(self, app: ASGIApp, state: dict[str, Any]) -> None:
        """Accept connections: the application has started, and ``state`` is that of its lifespan."""

    def on_signal(self, number: int) -> None:
        """Handle SIGTERM and SIGINT, in the main thread, between any two instructions."""

    async def end(self) -> None:
        """Accept no more connections, answer the last requests, and close all connections."""


class UvicornServer(uvicorn.Server):
    """Runs an application from the start of its lifespan to the end, with the connections and signals of ``hooks``."""

    def __init__(self, app: ASGIApp, hooks: Hooks) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",  # deadlines are times of its clock
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,  # the telemetry middleware logs every request
                server_header=False,
            )
        )
        self._hooks = hooks

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every response: the date, which the main loop updates every second."""
        return self.server_state.default_headers

    def stop(self) -> None:
        """Leave the main loop, and end."""
        self.should_exit = True

    def abandon(self) -> None:
        """Wait no longer for anything while the server ends, nor for the application's part of the end."""
        self.force_exit = True

    @property
    def is_abandoned(self) -> bool:
        """Whether ``abandon`` was called."""
        return self.force_exit

    async def startup(self, sockets: object = None) -> None:
        """Start the application, then accept connections."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        self._hooks.start(self.config.loaded_app, self.lifespan.state)
        self.started = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Pass a signal on."""
        self._hooks.on_signal(sig)

    async def shutdown(self, sockets: object = None) -> None:
        """End the connections, then the application."""
        await self._hooks.end()
        if not self.force_exit:
            await self.lifespan.shutdown()
