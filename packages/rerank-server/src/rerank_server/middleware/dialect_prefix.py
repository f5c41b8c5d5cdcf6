"""Strips the prefix of a dialect from the paths of GET and HEAD."""

from __future__ import annotations

from typing import Any

from rerank_server.asgi import ASGIApp, Receive, Send
from rerank_server.middleware.methods import AllowedMethods

_ORIGINAL_PATH = "rerank.original_path"


def original_path(scope: Any) -> str:
    """The path that the client requested, with its prefix."""
    path: str = scope.get(_ORIGINAL_PATH, scope["path"])
    return path


def is_below_prefix(scope: Any) -> bool:
    """Whether the prefix of a dialect was stripped from the path."""
    return _ORIGINAL_PATH in scope


class DialectPrefixMiddleware:
    """ASGI: passes ``GET /tei/info`` on as ``GET /info``. Scoring routes have a path of their own below each prefix.

    ``original_path`` has the whole path, for errors.
    """

    def __init__(self, app: ASGIApp, methods: AllowedMethods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            asked = scope["path"]
            inner = self._methods.below_prefix(asked)
            if inner is not None:
                path = inner + "/" if asked.endswith("/") and inner != "/" else inner
                scope = scope | {"path": path, "raw_path": path.encode(), _ORIGINAL_PATH: asked}
        await self._app(scope, receive, send)
