"""A page to try the model in a browser, from files of the package."""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from rerank_server.middleware.response_headers import PAGE_HEADERS
from rerank_server.routes.pages import STATIC, file_routes

_FILES = ("playground.css", "playground.js", "playground-code.js", "playground-text.js")
_HEADERS = PAGE_HEADERS | {
    # The page may send requests to this server only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def playground_routes() -> list[HTTPRouteHandler]:
    """``/playground`` and the files that it needs."""
    assets = [route for name in _FILES for route in file_routes(f"/static/{name}", STATIC / name)]
    return [*assets, *file_routes("/playground", STATIC / "playground.html", _HEADERS)]
