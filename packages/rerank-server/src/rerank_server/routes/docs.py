"""Swagger UI, ReDoc and the OpenAPI document, all from files that the package carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import MediaType, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.static_files import create_static_files_router

from rerank_server.openapi import openapi_document

_STATIC = Path(__file__).parent.parent / "static"


def docs_routes() -> list[HTTPRouteHandler | Router]:
    """``/docs``, ``/redoc``, ``/openapi.json`` and the files that they need."""
    swagger_html = (_STATIC / "swagger.html").read_text()
    redoc_html = (_STATIC / "redoc.html").read_text()
    document = openapi_document()

    @get("/docs", media_type=MediaType.HTML, sync_to_thread=False)
    def swagger() -> str:
        return swagger_html

    @get("/redoc", media_type=MediaType.HTML, sync_to_thread=False)
    def redoc() -> str:
        return redoc_html

    @get("/openapi.json", sync_to_thread=False)
    def openapi() -> dict[str, Any]:
        return document

    static = create_static_files_router(path="/static", directories=[_STATIC])
    return [swagger, redoc, openapi, static]
