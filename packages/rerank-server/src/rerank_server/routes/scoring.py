"""The routes that score."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from rerank_core.errors import InvalidRequest, ModelError, RerankError, TooManyDocuments, Unavailable

from rerank_server.body import BodyTooLarge, MalformedBody, UnsupportedCoding
from rerank_server.body_budget import SMALL, BodyBudget
from rerank_server.content_coding import ACCEPTED
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.dispatch import (
    ARRAYS,
    FIELDS,
    PLACES,
    Place,
    dialect_of_prefix,
    fallback_dialect,
    paths_beside,
)
from rerank_server.errors import MethodNotAllowed, NotFound
from rerank_server.json_body import JsonReader, drain
from rerank_server.lifecycle import Lifecycle
from rerank_server.question import Limits, ask
from rerank_server.record import Record
from rerank_server.routes.client import ClientGone, in_turns, patience, read_body, unless_gone
from rerank_server.routes.get import AnyRequest
from rerank_server.statuses import status_of
from rerank_server.telemetry import record_of

logger = logging.getLogger(__name__)

_REJECTIONS = {"overloaded", "deadline_exceeded", "too_many_documents"}
_LONGEST_MESSAGE = 500  # characters
_VALUES_PER_DOCUMENT = 100
_VALUES_AT_ONCE = 100_000  # to decode so many takes a few hundredths of a second


def scoring_routes(lifecycle: Lifecycle, limits: Limits, timeout: float, budget: BodyBudget) -> list[HTTPRouteHandler]:
    """A route for every place where a language is spoken. ``timeout``: seconds that a request may take."""
    reader = JsonReader(
        FIELDS,
        arrays=[name for name in ARRAYS if name != "pairs"],  # the documented API counts them itself, and says 422
        max_documents=limits.max_documents,
        max_values=max(_VALUES_AT_ONCE, _VALUES_PER_DOCUMENT * limits.max_documents),
        at_once=_VALUES_AT_ONCE,
    )

    async def read(request: AnyRequest) -> object:
        headers = request.headers
        with budget.reserve() as reservation:
            content = await read_body(
                request.receive,
                length=headers.get("content-length"),
                encoding=",".join(headers.getall("content-encoding", [])),
                limit=limits.max_body_bytes,
                reservation=reservation,
            )
            steps = reader.read(content, headers.get("content-type"))
            return drain(steps) if len(content) <= SMALL else await in_turns(steps)

    async def serve(request: AnyRequest, place: Place) -> Response[bytes]:
        dialect, record = place.default, record_of(request.scope)
        try:
            with lifecycle.request() as service:
                seconds = patience(request.headers.get("x-request-timeout"), timeout)
                body = await read(request)
                dialect = place.dialect(body)
                wanted = dialect.read(body)
                record.pairs = _check_count(body, dialect, limits)
                asked = ask(service, dialect.question(wanted), limits, seconds=seconds, record=record)
                scores = await unless_gone(request.receive, asked)
                return _json(dialect.answer(wanted, scores), 200)
        except RerankError as error:
            record.rejection = _rejection(error, lifecycle)
            return _failure(dialect, error, record)
        except RecursionError:
            return _failure(dialect, MalformedBody("the JSON is nested too deeply", kind="json_invalid"), record)
        except ClientGone:
            record.error = record.rejection = "disconnected"
            return Response(b"", status_code=499)  # to nobody
        except Exception:
            logger.exception("%s failed", record.route)
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


def _check_count(body: object, dialect: Dialect, limits: Limits) -> int:
    """The number of documents, before anything is made of each. Raises ``TooManyDocuments``."""
    if not isinstance(body, dict):
        return 0
    read = [body.get(name) for name in ARRAYS if name in dialect.request.__struct_fields__]
    count = max((len(value) for value in read if isinstance(value, list)), default=0)
    if count > limits.max_documents:
        raise TooManyDocuments(
            f"the request has {count} documents, a request may have {limits.max_documents}: "
            "send several requests (the limit is RERANK_MAX_DOCUMENTS)"
        )
    return count


def _failure(dialect: Dialect, error: RerankError, record: Record) -> Response[bytes]:
    record.error = error.code
    _shorten(error)
    headers = {}
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, UnsupportedCoding):
        headers["Accept-Encoding"] = ACCEPTED
    return _json(dialect.error(error), status_of(error, dialect.status(error)), headers)


def _shorten(error: RerankError) -> None:
    """Bound the message: whatever it names, such as fields of the request, may be long."""
    message = str(error)
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2 - 5  # what went wrong stands in front, and the way out at the end
        error.args = (f"{message[:half]} ... {message[-half:]}",)


def _rejection(error: RerankError, lifecycle: Lifecycle) -> str | None:
    """Why a request was turned away or given up; None where it was only wrong, or failed."""
    if error.code == "unavailable":
        return lifecycle.state
    if isinstance(error, BodyTooLarge):
        return "body_too_large"
    return error.code if error.code in _REJECTIONS else None
