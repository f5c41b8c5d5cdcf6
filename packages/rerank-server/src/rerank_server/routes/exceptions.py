"""The exception handlers of the framework: they answer where no route does, in the dialect of the path."""

from __future__ import annotations

import logging
from http import HTTPStatus

from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from rerank_core.errors import ModelError, Unauthorized

from rerank_server.errors import status_of
from rerank_server.middleware.dialect_prefix import original_path
from rerank_server.middleware.methods import AllowedMethods
from rerank_server.middleware.telemetry import record_of
from rerank_server.routes.get import AnyRequest
from rerank_server.routes.replies import error_body, unrouted_body

logger = logging.getLogger(__name__)


def exception_handlers(methods: AllowedMethods) -> ExceptionHandlersMap:
    """The handlers of unknown paths and methods, of missing API keys, and of anything unexpected."""

    def unrouted(request: AnyRequest, error: HTTPException) -> Response[bytes]:
        path, status, headers = original_path(request.scope), error.status_code, {}
        allowed = methods.allowed(path)
        if allowed and status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
            status, headers = 405, {"Allow": ", ".join(allowed)}  # also for a path that exists below a prefix only
        return _json(unrouted_body(path, status), status, headers)

    return {HTTPException: unrouted, Unauthorized: unauthorized, HTTPStatus.INTERNAL_SERVER_ERROR: failed}


def unauthorized(request: AnyRequest, error: Unauthorized) -> Response[bytes]:
    """Answer a request that has no valid API key."""
    record = record_of(request.scope)
    record.error = record.rejection = error.code
    body = error_body(original_path(request.scope), error)
    return _json(body, status_of(error), {"WWW-Authenticate": "Bearer"})


def failed(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a request on which a route has failed, and log the reason."""
    record = record_of(request.scope)
    record.error = ModelError.code
    logger.error("%s %s failed", record.method, record.route, exc_info=error)
    return _json(unrouted_body(original_path(request.scope), 500), 500)


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, status_code=status, headers=headers, media_type="application/json")
