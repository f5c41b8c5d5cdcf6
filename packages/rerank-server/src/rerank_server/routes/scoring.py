"""The routes that score."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from rerank_core.errors import InvalidRequest, ModelError, RerankError, Unavailable

from rerank_server.body import BodyTooLarge, read_json
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.dispatch import PLACES, Place, dialect_of_prefix, fallback_dialect, paths_beside
from rerank_server.errors import MethodNotAllowed, NotFound
from rerank_server.lifecycle import Lifecycle
from rerank_server.question import Limits, ask
from rerank_server.record import Record
from rerank_server.routes.client import ClientGone, patience, read_body, unless_gone
from rerank_server.routes.get import AnyRequest
from rerank_server.statuses import status_of
from rerank_server.telemetry import record_of

logger = logging.getLogger(__name__)

_REJECTIONS = {"overloaded", "deadline_exceeded", "too_many_documents"}


def scoring_routes(lifecycle: Lifecycle, limits: Limits, timeout: float) -> list[HTTPRouteHandler]:
    """A route for every place where a language is spoken. ``timeout``: seconds that a request may take."""

    async def serve(request: AnyRequest, place: Place) -> Response[bytes]:
        dialect, record = place.default, record_of(request.scope)
        try:
            with lifecycle.request() as service:
                seconds = patience(request.headers.get("x-request-timeout"), timeout)
                content = await read_body(request.receive, limits.max_body_bytes)
                body = read_json(content, request.headers.get("content-type"))
                dialect = place.dialect(body)
                wanted = dialect.read(body)
                asked = ask(service, dialect.question(wanted), limits, seconds=seconds, record=record)
                scores = await unless_gone(request.receive, asked)
                return _json(dialect.answer(wanted, scores), 200)
        except RerankError as error:
            record.rejection = _rejection(error, lifecycle)
            return _failure(dialect, error, record)
        except ClientGone:
            record.error = record.rejection = "disconnected"
            return Response(b"", status_code=499)  # to nobody
        except Exception:
            logger.exception("%s failed", request.url.path)
            return _failure(dialect, ModelError("the server failed on this request: its log says why"), record)

    def route(place: Place) -> HTTPRouteHandler:
        @post(place.path, status_code=200)
        async def score(request: AnyRequest) -> Response[bytes]:
            return await serve(request, place)

        return score

    return [route(place) for place in PLACES]


def _json(content: object, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json", headers=headers)


def refusal(path: str, error: RerankError) -> bytes:
    """The body of an error, in the language of a path, for those who answer before the route is asked."""
    return msgspec.json.encode(fallback_dialect(path).error(error))


def unrouted(path: str, status: int) -> bytes:
    """The body of an answer to what no route takes: below a prefix in its dialect, else as it is documented."""
    dialect = dialect_of_prefix(path)
    if dialect is None:
        return msgspec.json.encode({"detail": HTTPStatus(status).phrase})
    return msgspec.json.encode(dialect.error(_unrouted_error(path, status)))


def _unrouted_error(path: str, status: int) -> RerankError:
    if status == HTTPStatus.NOT_FOUND:
        there = ", ".join(paths_beside(path))
        return NotFound(f"there is nothing at this path: this server only scores, at POST {there}")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("this method is not allowed at this path: the header Allow has those that are")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidRequest(HTTPStatus(status).phrase)
    return ModelError("the server failed on this request: its log says why")


def _failure(dialect: Dialect, error: RerankError, record: Record) -> Response[bytes]:
    record.error = error.code
    headers = {}
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return _json(dialect.error(error), status_of(error, dialect.status(error)), headers)


def _rejection(error: RerankError, lifecycle: Lifecycle) -> str | None:
    """Why a request was turned away or given up; None where it was only wrong, or failed."""
    if error.code == "unavailable":
        return lifecycle.state
    if isinstance(error, BodyTooLarge):
        return "body_too_large"
    return error.code if error.code in _REJECTIONS else None
