"""Security headers: browsers must not guess a content type, nor show a page in a frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
"""Headers of everything that a browser may show: pages, their files, the OpenAPI document."""


class NoSniffMiddleware:
    """ASGI: adds ``X-Content-Type-Options: nosniff`` to every response."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""

        async def send_with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                nosniff = (b"x-content-type-options", b"nosniff")
                message = {**message, "headers": [*message.get("headers", ()), nosniff]}
            await send(message)

        await self._app(scope, receive, send_with_header)
