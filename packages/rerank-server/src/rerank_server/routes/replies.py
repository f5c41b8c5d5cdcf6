"""Responses: their identifiers and times, and those that no route of its own makes."""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus

import msgspec
from litestar import Response
from rerank_core.errors import InvalidRequest, ModelError, RerankError

from rerank_server.dialects.base import Reply
from rerank_server.dialects.routing import dialect_of_prefix, fallback_dialect, paths_beside
from rerank_server.errors import MethodNotAllowed, NotFound


def new_reply() -> Reply:
    """The identifier and the time of a new response."""
    return Reply(id=str(uuid.uuid4()), created=int(time.time()))


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A response with a body that msgspec encodes."""
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json", headers=headers)


def error_body(path: str, error: RerankError) -> bytes:
    """The body of an error that is returned before the route is called, in the dialect of the path."""
    return msgspec.json.encode(fallback_dialect(path).error(error, new_reply()))


def unrouted_body(path: str, status: int) -> bytes:
    """The body of the response where no route takes the request: below a prefix in its dialect, else our own."""
    dialect = dialect_of_prefix(path)
    if dialect is None:
        return msgspec.json.encode({"detail": HTTPStatus(status).phrase})
    return msgspec.json.encode(dialect.error(_unrouted_error(path, status), new_reply()))


def _unrouted_error(path: str, status: int) -> RerankError:
    if status == HTTPStatus.NOT_FOUND:
        there = ", ".join(paths_beside(path))
        return NotFound(f"there is nothing at this path: this server only scores, at POST {there}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("this method is not allowed at this path: the header Allow has those that are")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidRequest(HTTPStatus(status).phrase)
    return ModelError("the server failed on this request: its log says why")
