"""What may be looked at below the prefix of a language: the same as without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

_ASKED = "rerank.asked_path"


def asked_path(scope: Any) -> str:
    """The path that was asked for, with its prefix."""
    path: str = scope.get(_ASKED, scope["path"])
    return path


class WithoutPrefix:
    """ASGI: ``app`` sees ``GET /tei/info`` as ``GET /info``. What scores has a route of its own below each prefix.

    ``asked_path`` still has the whole path, for errors.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], *, prefixes: Collection[str]) -> None:
        self._app = app
        self._prefixes = prefixes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            asked = scope["path"]
            prefix, _, rest = asked.lstrip("/").partition("/")
            if f"/{prefix}" in self._prefixes:
                path = "/" + rest.lstrip("/")
                scope = scope | {"path": path, "raw_path": path.encode(), _ASKED: asked}
        await self._app(scope, receive, send)
