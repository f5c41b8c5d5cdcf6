"""Swagger UI, ReDoc and the OpenAPI document, from files of the package."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from rerank_server.middleware.response_headers import PAGE_HEADERS
from rerank_server.routes.get import AnyRequest, get_and_head
from rerank_server.routes.openapi import openapi_document

STATIC = Path(__file__).parent.parent / "static"
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "redoc.standalone.js")


def docs_routes() -> list[HTTPRouteHandler]:
    """``/docs``, ``/redoc``, ``/openapi.json`` and the files that they need, each by its name."""
    files = {f"/static/{name}": STATIC / name for name in _ASSETS}
    files |= {"/docs": STATIC / "swagger.html", "/redoc": STATIC / "redoc.html"}
    routes = [route for path, file in files.items() for route in file_routes(path, file)]
    document = openapi_document()
    return [*routes, *get_and_head("/openapi.json", lambda _: Response(document, headers=PAGE_HEADERS))]


def file_routes(path: str, file: Path, headers: Mapping[str, str] = PAGE_HEADERS) -> list[HTTPRouteHandler]:
    """The routes of one file, which is read once, at the start."""
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    content = file.read_bytes()

    def answer(request: AnyRequest) -> Response[bytes]:
        if request.scope["raw_path"].endswith(b"/"):  # the page's relative links would be wrong there
            return Response(b"", status_code=302, headers={**headers, "Location": f"..{path}"})
        return Response(content, media_type=media_type, headers=headers)

    return get_and_head(path, answer, media_type=media_type)
