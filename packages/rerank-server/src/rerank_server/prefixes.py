"""GET and HEAD below the prefix of a dialect: the same as without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from rerank_server.methods import Methods


class WithoutPrefix:
    """ASGI: ``app`` sees ``GET /tei/info`` as ``GET /info``. What scores has a route of its own below each prefix."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], methods: Methods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            inner = self._methods.below_prefix(scope["path"])
            if inner is not None:
                slash = "/" if scope["path"].endswith("/") and inner != "/" else ""
                scope = scope | {"path": inner + slash, "raw_path": (inner + slash).encode()}
        await self._app(scope, receive, send)
