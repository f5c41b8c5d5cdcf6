"""Authentication by an API key in the header ``Authorization: Bearer``."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

from rerank_core.errors import Unauthorized

from rerank_server.errors import status_of
from rerank_server.middleware.dialect_prefix import original_path
from rerank_server.middleware.telemetry import record_of

# Paths that need no key, with GET and HEAD.
OPEN = frozenset(
    {"/", "/livez", "/readyz", "/health", "/ping", "/docs", "/redoc", "/openapi.json", "/playground", "/metrics"}
    | {"/v1/health/ready", "/v1/health/live"}
    | {"/v1/cluster/auth"}  # clients of Xinference ask there whether a key is needed
)
_OPEN_BELOW = "/static/"  # the files of the pages


class ApiKeys:
    """The API keys that are accepted. Without any, no request needs one."""

    def __init__(self, keys: tuple[bytes, ...], *, metrics: bool) -> None:
        self.replace(keys)
        self._open = OPEN - {"/metrics"} if metrics else OPEN

    def replace(self, keys: tuple[bytes, ...]) -> None:
        """Replace all keys."""
        self._digests = [sha256(key).digest() for key in dict.fromkeys(keys)]

    @property
    def count(self) -> int:
        """The number of keys."""
        return len(self._digests)

    def check(self, method: str, path: str, authorization: str | None) -> None:
        """Check a request. Raises ``Unauthorized``."""
        if not self._digests or method == "OPTIONS":
            return
        if method in {"GET", "HEAD"} and (path.rstrip("/") or "/") in self._open:
            return
        if method in {"GET", "HEAD"} and path.startswith(_OPEN_BELOW):
            return
        if authorization is None:
            raise Unauthorized("this needs an API key: send it as 'Authorization: Bearer KEY'")
        scheme, _, given = authorization.partition(" ")
        # Every key is compared, by hashes of one length, so that the duration reveals nothing about the keys.
        digest = sha256(given.strip(" \t").encode("latin-1")).digest()
        known = [hmac.compare_digest(digest, key) for key in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            raise Unauthorized(
                "this API key is not one that the server knows: send another, as 'Authorization: Bearer KEY'"
            )


class AuthMiddleware:
    """ASGI: answers 401 without a valid API key. ``error_body`` makes the body, in the dialect of the path."""

    def __init__(self, app: Asgi, *, api_keys: ApiKeys, error_body: Callable[[str, Unauthorized], bytes]) -> None:
        self._app = app
        self._api_keys = api_keys
        self._error_body = error_body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            try:
                self._api_keys.check(scope["method"], scope["path"], _header(scope, b"authorization"))
            except Unauthorized as error:
                record = record_of(scope)
                record.error = record.rejection = error.code
                headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
                await send({"type": "http.response.start", "status": status_of(error), "headers": headers})
                await send({"type": "http.response.body", "body": self._error_body(original_path(scope), error)})
                return
        await self._app(scope, receive, send)


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if values else None
