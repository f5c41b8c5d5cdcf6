"""Cross-origin requests (CORS): answers preflights, and refuses requests of foreign pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rerank_server.asgi import ASGIApp, Message, Receive, Send
from rerank_server.errors import ForeignOrigin, InvalidHeader, public_code, status_of
from rerank_server.middleware.origins import Origins, is_same_origin, preflight_headers
from rerank_server.middleware.telemetry import record_of

_FOREIGN = "the origin of this page may not call the server: name it in CORS_ORIGINS"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class CorsMiddleware:
    """ASGI: answers preflights, adds the headers of CORS, and refuses requests of foreign pages.

    A request with an unsafe method, of a page whose origin is neither in ``origins`` nor the server's own, is answered
    403 before its body is read. ``error_body`` makes the body, in the dialect of the path. ``exposed`` are the headers
    of responses that pages may read.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Origins,
        exposed: tuple[str, ...],
        error_body: Callable[[str, InvalidHeader], bytes],
    ) -> None:
        self._app = app
        self._origins = origins
        self._exposed = ", ".join(exposed)
        self._error_body = error_body

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection; one that is not HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get("origin")
        once = sum(name.lower() == b"origin" for name, _ in scope["headers"]) == 1
        allowed = origin is not None and (self._origins.all or (once and self._origins.allow(origin)))
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        added = list(self._headers(origin if allowed else None, is_preflight=is_preflight))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                encoded = [(name.encode(), value.encode("latin-1")) for name, value in added]
                message = {**message, "headers": [*message.get("headers", ()), *encoded]}
            await send(message)

        if origin is None:
            await self._app(scope, receive, send_with_headers)
            return
        try:
            if is_preflight:
                if not allowed:
                    raise InvalidHeader(_FOREIGN)
                added += preflight_headers(self._origins, headers)
            elif not (allowed or scope["method"] in _SAFE or is_same_origin(origin, headers)):
                raise ForeignOrigin(_FOREIGN)
        except InvalidHeader as error:
            await self._refuse(error, scope, send_with_headers)
            return
        if is_preflight:
            await send_with_headers({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send_with_headers)

    async def _refuse(self, error: InvalidHeader, scope: Any, send: Send) -> None:
        record = record_of(scope)
        record.error = public_code(error)
        if error.code == ForeignOrigin.code:
            record.rejection = error.code
        body = self._error_body(scope["path"], error)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status_of(error), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _headers(self, origin: str | None, *, is_preflight: bool) -> Iterator[tuple[str, str]]:
        asked = ", Access-Control-Request-Method, Access-Control-Request-Headers" if is_preflight else ""
        if not self._origins.all:
            yield "vary", "Origin" + asked
        elif is_preflight:
            yield "vary", asked.removeprefix(", ")
        if origin is None:
            return
        yield "access-control-allow-origin", "*" if self._origins.all else origin
        if not self._origins.all:
            yield "access-control-allow-credentials", "true"
        if not is_preflight:
            yield "access-control-expose-headers", self._exposed
