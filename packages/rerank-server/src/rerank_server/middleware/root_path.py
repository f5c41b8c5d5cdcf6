"""Strips the root path, the prefix under which an ingress serves the application."""

from __future__ import annotations

from typing import Any

from rerank_server.asgi import ASGIApp, Receive, Send


class RootPathMiddleware:
    """ASGI: strips ``root`` from a path. A path that does not begin with it is passed on unchanged."""

    def __init__(self, app: ASGIApp, *, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        path = scope.get("path", "")
        if self._root and (path == self._root or path.startswith(f"{self._root}/")):
            raw = scope.get("raw_path") or path.encode()
            scope = scope | {
                "path": path.removeprefix(self._root) or "/",
                "raw_path": raw.removeprefix(self._root.encode()) or b"/",
            }
        await self._app(scope, receive, send)
