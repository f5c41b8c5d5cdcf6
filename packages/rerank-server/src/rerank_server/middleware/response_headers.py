"""Security headers: browsers must not guess a content type, nor show a page in a frame."""

from __future__ import annotations

from typing import Any

from rerank_server.asgi import ASGIApp, Message, Receive, Send

PAGE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
"""Headers of everything that a browser may show: pages, their files, the OpenAPI document."""


class NoSniffMiddleware:
    """ASGI: adds ``X-Content-Type-Options: nosniff`` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                nosniff = (b"x-content-type-options", b"nosniff")
                message = {**message, "headers": [*message.get("headers", ()), nosniff]}
            await send(message)

        await self._app(scope, receive, send_with_header)
