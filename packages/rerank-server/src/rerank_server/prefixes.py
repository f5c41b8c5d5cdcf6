"""What may be looked at below the prefix of a language: the same as without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any


class WithoutPrefix:
    """ASGI: ``app`` sees ``GET /tei/info`` as ``GET /info``. What scores has a route of its own below each prefix."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], *, prefixes: Collection[str]) -> None:
        self._app = app
        self._prefixes = prefixes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            prefix, slash, rest = scope["path"][1:].partition("/")
            if f"/{prefix}" in self._prefixes:
                scope = scope | {"path": slash + rest or "/", "raw_path": (slash + rest or "/").encode()}
        await self._app(scope, receive, send)
