"""GET and HEAD below the prefix of a dialect: the same as without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rerank_server.middleware.methods import Methods

_ASKED = "rerank.asked_path"


def asked_path(scope: Any) -> str:
    """The path that was asked for, with its prefix."""
    path: str = scope.get(_ASKED, scope["path"])
    return path


class WithoutPrefix:
    """ASGI: ``app`` sees ``GET /tei/info`` as ``GET /info``. What scores has a route of its own below each prefix.

    ``asked_path`` still has the whole path, for errors.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], methods: Methods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            asked = scope["path"]
            inner = self._methods.below_prefix(asked)
            if inner is not None:
                path = inner + "/" if asked.endswith("/") and inner != "/" else inner
                scope = scope | {"path": path, "raw_path": path.encode(), _ASKED: asked}
        await self._app(scope, receive, send)
