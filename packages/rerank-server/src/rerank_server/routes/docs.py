"""Swagger UI, ReDoc and the OpenAPI document, all from files that the package carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from litestar import MediaType, Request, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect
from litestar.static_files import create_static_files_router

from rerank_server.openapi import openapi_document

AnyRequest: TypeAlias = Request[Any, Any, Any]

_STATIC = Path(__file__).parent.parent / "static"


def docs_routes() -> list[HTTPRouteHandler | Router]:
    """``/docs``, ``/redoc``, ``/openapi.json`` and the files that they need."""
    swagger_html = (_STATIC / "swagger.html").read_text(encoding="utf-8")
    redoc_html = (_STATIC / "redoc.html").read_text(encoding="utf-8")
    document = openapi_document()

    @get("/docs", media_type=MediaType.HTML, sync_to_thread=False)
    def swagger(request: AnyRequest) -> str | Redirect:
        return _page(request, "docs", swagger_html)

    @get("/redoc", media_type=MediaType.HTML, sync_to_thread=False)
    def redoc(request: AnyRequest) -> str | Redirect:
        return _page(request, "redoc", redoc_html)

    @get("/openapi.json", sync_to_thread=False)
    def openapi() -> dict[str, Any]:
        return document

    static = create_static_files_router(path="/static", directories=[_STATIC])
    return [swagger, redoc, openapi, static]


def _page(request: AnyRequest, name: str, html: str) -> str | Redirect:
    """The page; at ``/docs/`` its relative addresses would lead astray, so that goes to ``/docs``."""
    return Redirect(f"../{name}") if request.scope["raw_path"].endswith(b"/") else html
