"""Routes for GET, each with one for HEAD: the same status and headers, without the body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from litestar import MediaType, Request, Response, get, head
from litestar.handlers import HTTPRouteHandler

from rerank_server.routes.authentication import IS_OPEN

AnyRequest: TypeAlias = Request[Any, Any, Any]


def get_and_head(
    path: str,
    answer: Callable[[AnyRequest], Response[Any]],
    *,
    media_type: str = MediaType.JSON,
    is_open: bool = False,
) -> list[HTTPRouteHandler]:
    """The routes of a path for GET and HEAD. ``is_open``: they need no API key."""
    opt = {IS_OPEN: is_open}

    @get(path, media_type=media_type, sync_to_thread=False, opt=opt)
    def on_get(request: AnyRequest) -> Response[Any]:
        return answer(request)

    @head(path, sync_to_thread=False, opt=opt)
    def on_head(request: AnyRequest) -> Response[None]:
        answered = answer(request)
        return Response(None, status_code=answered.status_code or 200, headers=answered.headers)

    return [on_get, on_head]
