"""Pages for people and their files. Each has one address, for its links and requests are relative to it."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from litestar import MediaType, Response
from litestar.handlers import HTTPRouteHandler

from rerank_server.middleware.dialect_prefix import is_below_prefix, original_path
from rerank_server.middleware.response_headers import PAGE_HEADERS
from rerank_server.routes.get import AnyRequest, get_and_head

STATIC = Path(__file__).parent.parent / "static"


def file_routes(path: str, file: Path, headers: Mapping[str, str] = PAGE_HEADERS) -> list[HTTPRouteHandler]:
    """The routes of one file, which is read once, at the start."""
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    content = file.read_bytes()
    return page_routes(path, lambda: Response(content, media_type=media_type, headers=headers), media_type=media_type)


def page_routes(
    path: str, answer: Callable[[], Response[Any]], *, media_type: str = MediaType.JSON
) -> list[HTTPRouteHandler]:
    """The routes of a page. Below the prefix of a dialect, or with a slash at the end, they redirect to the page."""

    def answer_at_its_address(request: AnyRequest) -> Response[Any]:
        if is_below_prefix(request.scope) or request.scope["raw_path"].endswith(b"/"):
            return redirect(request, path, PAGE_HEADERS)
        return answer()

    return get_and_head(path, answer_at_its_address, media_type=media_type, is_open=True)


def redirect(request: AnyRequest, path: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Redirect to a path of this server. The address is relative, because an ingress may have stripped a prefix."""
    up = "../" * (_requested_path(request).count("/") - 1)
    return Response(b"", status_code=302, headers={**(headers or {}), "Location": up + path.removeprefix("/")})


def _requested_path(request: AnyRequest) -> str:
    """The path with all its slashes: the router has removed those that do not count."""
    if is_below_prefix(request.scope):
        return original_path(request.scope)
    raw: bytes = request.scope["raw_path"]
    return raw.decode("latin-1")
