"""Strips the root path, the prefix under which an ingress serves the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class RootPathMiddleware:
    """ASGI: strips ``root`` from a path. A path that does not begin with it is passed on unchanged."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], *, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        path = scope.get("path", "")
        if self._root and (path == self._root or path.startswith(f"{self._root}/")):
            raw = scope.get("raw_path") or path.encode()
            scope = scope | {
                "path": path.removeprefix(self._root) or "/",
                "raw_path": raw.removeprefix(self._root.encode()) or b"/",
            }
        await self._app(scope, receive, send)
