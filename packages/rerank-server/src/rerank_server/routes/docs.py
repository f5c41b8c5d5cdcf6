"""Swagger UI, ReDoc and the OpenAPI document, from files of the package."""

from __future__ import annotations

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from rerank_server.middleware.response_headers import PAGE_HEADERS
from rerank_server.routes.openapi import openapi_document
from rerank_server.routes.pages import STATIC, file_routes, page_routes

_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "redoc.standalone.js")


def docs_routes() -> list[HTTPRouteHandler]:
    """``/docs``, ``/redoc``, ``/openapi.json`` and the files that they need, each by its name."""
    files = {f"/static/{name}": STATIC / name for name in _ASSETS}
    files |= {"/docs": STATIC / "swagger.html", "/redoc": STATIC / "redoc.html"}
    routes = [route for path, file in files.items() for route in file_routes(path, file)]
    document = openapi_document()
    return [*routes, *page_routes("/openapi.json", lambda: Response(document, headers=PAGE_HEADERS))]
