"""Swagger UI, ReDoc and the OpenAPI document, from files of the package."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from rerank_server.middleware.dialect_prefix import original_path
from rerank_server.middleware.response_headers import PAGE_HEADERS
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.routes.openapi.document import openapi_document

STATIC = Path(__file__).parent.parent / "static"
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "redoc.standalone.js")


def docs_routes() -> list[HTTPRouteHandler]:
    """``/docs``, ``/redoc``, ``/openapi.json`` and the files that they need, each by its name."""
    files = {f"/static/{name}": STATIC / name for name in _ASSETS}
    files |= {"/docs": STATIC / "swagger.html", "/redoc": STATIC / "redoc.html"}
    routes = [route for path, file in files.items() for route in file_routes(path, file)]
    document = openapi_document()

    def answer(request: AnyRequest) -> Response[Any]:
        return _elsewhere(request, "/openapi.json", PAGE_HEADERS) or Response(document, headers=PAGE_HEADERS)

    return [*routes, *get_and_head("/openapi.json", answer)]


def file_routes(path: str, file: Path, headers: Mapping[str, str] = PAGE_HEADERS) -> list[HTTPRouteHandler]:
    """The routes of one file, which is read once, at the start."""
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    content = file.read_bytes()

    def answer(request: AnyRequest) -> Response[bytes]:
        return _elsewhere(request, path, headers) or Response(content, media_type=media_type, headers=headers)

    return get_and_head(path, answer, media_type=media_type)


def _elsewhere(request: AnyRequest, path: str, headers: Mapping[str, str]) -> Response[bytes] | None:
    """A redirection to a file from where its relative links would be wrong; None at its own path.

    They are wrong behind a slash at the end, and below the prefix of a dialect: what is called there has another API.
    """
    scope = request.scope
    levels = (original_path(scope) != scope["path"]) + scope["raw_path"].endswith(b"/")
    if not levels:
        return None
    return Response(b"", status_code=302, headers={**headers, "Location": "../" * levels + path.removeprefix("/")})
