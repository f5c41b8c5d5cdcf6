"""The allowed methods of each path, for the header ``Allow`` and for OPTIONS."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from rerank_server.asgi import ASGIApp, Receive, Send


class AllowedMethods:
    """The allowed methods of ``routes`` (the methods of each path), also below the ``prefixes`` of dialects."""

    def __init__(self, routes: Mapping[str, Collection[str]], *, prefixes: Collection[str]) -> None:
        self._routes = {path: frozenset({*methods, "OPTIONS"}) for path, methods in routes.items() if "{" not in path}
        self._begins = {path.partition("{")[0]: frozenset({*routes[path], "OPTIONS"}) for path in routes if "{" in path}
        self._prefixes = prefixes

    def of_route(self, path: str) -> frozenset[str]:
        """The methods of the route with this path; empty where there is no route."""
        path = normalized(path)
        if path in self._routes:
            return self._routes[path]
        return next((methods for begin, methods in self._begins.items() if path.startswith(begin)), frozenset())

    def allowed(self, path: str) -> tuple[str, ...]:
        """The allowed methods of a path, sorted; empty for a path that does not exist."""
        found = self.of_route(path)
        inner = self.below_prefix(path)
        return tuple(sorted(found | (self.of_route(inner) - {"POST"} if inner else frozenset())))

    def below_prefix(self, path: str) -> str | None:
        """The path behind the prefix of a dialect, where it has GET and HEAD there too; else None."""
        prefix, slash, rest = normalized(path)[1:].partition("/")
        inner = slash + rest or "/"
        return inner if f"/{prefix}" in self._prefixes and "GET" in self.of_route(inner) else None


def normalized(path: str) -> str:
    """Normalize a path as the router does: without empty segments, and without a slash at the end."""
    return re.sub("/+", "/", path).rstrip("/") or "/"


class OptionsMiddleware:
    """ASGI: answers OPTIONS with the allowed methods of the path, or of the server for ``*``."""

    def __init__(self, app: ASGIApp, methods: AllowedMethods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            path = scope["path"]
            allowed = ("GET", "HEAD", "OPTIONS", "POST") if path == "*" else self._methods.allowed(path)
            if allowed:
                allow = (b"allow", ", ".join(allowed).encode())
                await send({"type": "http.response.start", "status": 204, "headers": [allow]})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)
