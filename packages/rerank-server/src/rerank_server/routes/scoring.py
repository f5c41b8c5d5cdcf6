"""The routes that score."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from rerank_core.errors import ModelError, RerankError, Unavailable
from rerank_core.types import Pair

from rerank_server.dialects.base import Dialect
from rerank_server.dialects.routing import ARRAYS, FIELDS, ROUTES, ScoringRoute
from rerank_server.errors import MalformedBody, UnsupportedCoding, public_code
from rerank_server.inference.limits import Limits
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.middleware.telemetry import record_of
from rerank_server.observability.request_record import RequestRecord
from rerank_server.routes.body.budget import SMALL, BodyBudget
from rerank_server.routes.body.content_coding import ACCEPTED
from rerank_server.routes.body.json_reader import JsonReader, drain
from rerank_server.routes.body.reading import read_body, run_in_steps
from rerank_server.routes.disconnect import ClientDisconnected, cancel_on_disconnect
from rerank_server.routes.get import AnyRequest
from rerank_server.routes.replies import json_response, new_reply
from rerank_server.routes.timeout import request_timeout

logger = logging.getLogger(__name__)

_REJECTIONS = {"overloaded", "deadline_exceeded", "too_many_documents", "body_too_large"}
_LONGEST_MESSAGE = 500  # characters
_VALUES_PER_DOCUMENT = 100
_VALUES_AT_ONCE = 100_000  # decoding them takes a few hundredths of a second


def scoring_routes(lifecycle: Lifecycle, limits: Limits, timeout: float, budget: BodyBudget) -> list[HTTPRouteHandler]:
    """The handlers of all scoring routes. ``timeout``: the maximum duration of a request in seconds."""
    reader = JsonReader(
        FIELDS,
        arrays=[name for name in ARRAYS if name != "pairs"],  # our own API counts them itself, and answers 422
        max_documents=limits.max_documents,
        max_values=max(_VALUES_AT_ONCE, _VALUES_PER_DOCUMENT * limits.max_documents),
        at_once=_VALUES_AT_ONCE,
    )

    async def read(request: AnyRequest) -> Any:
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
            return drain(steps) if len(content) <= SMALL else await run_in_steps(steps)

    async def serve(request: AnyRequest, route: ScoringRoute) -> Response[bytes]:
        dialect, record = route.default, record_of(request.scope)
        try:
            with lifecycle.request() as service:
                seconds = request_timeout(request.headers.get("x-request-timeout"), timeout)
                body = await read(request)
                dialect = route.dialect(body)
                body_request = dialect.read(body)
                record.pairs = _count(body, dialect)
                limits.check_count(record.pairs)
                score_request = dialect.to_score_request(body_request)
                pairs, options = score_request.pairs, score_request.options
                record.pairs, record.characters = len(pairs), _characters(pairs)
                limits.check(pairs, options, score_request.model, service.model.info)
                work = service.score_pairs(pairs, options, seconds=seconds, record=record)
                scores = await cancel_on_disconnect(request.receive, work)
                return json_response(dialect.answer(body_request, scores, new_reply()))
        except RerankError as error:
            record.rejection = _rejection(error, lifecycle)
            return _failure(dialect, error, record)
        except RecursionError:  # a document that could just be read may be too deep to be written
            return _failure(dialect, MalformedBody("the JSON is nested too deeply"), record)
        except ClientDisconnected:
            record.error = record.rejection = "disconnected"
            return Response(b"", status_code=499)  # nobody receives it
        except Exception:
            logger.exception("%s failed", record.route)
            return _failure(dialect, ModelError("the server failed on this request: its log says why"), record)

    def handler(route: ScoringRoute) -> HTTPRouteHandler:
        @post(route.path, status_code=200)
        async def score(request: AnyRequest) -> Response[bytes]:
            return await serve(request, route)

        return score

    return [handler(route) for route in ROUTES]


def _count(body: Mapping[str, object], dialect: Dialect) -> int:
    """The number of documents of a body that the dialect has read, before any of them is converted."""
    read = [body.get(name) for name in ARRAYS if name in dialect.request.__struct_fields__]
    return max((len(value) for value in read if isinstance(value, list)), default=0)


def _characters(pairs: Sequence[Pair]) -> int:
    return sum(len(pair.query) + len(pair.document) for pair in pairs)


def _failure(dialect: Dialect, error: RerankError, record: RequestRecord) -> Response[bytes]:
    record.error = public_code(error)
    _shorten(error)
    headers = {}
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if error.code == UnsupportedCoding.code:
        headers["Accept-Encoding"] = ACCEPTED
    return json_response(dialect.error(error, new_reply()), dialect.status_of(error), headers)


def _shorten(error: RerankError) -> None:
    """Shorten a long message, which may name fields of the request."""
    message = str(error)
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2 - 5  # the reason is at the beginning, and the way out at the end
        error.args = (f"{message[:half]} ... {message[-half:]}",)


def _rejection(error: RerankError, lifecycle: Lifecycle) -> str | None:
    """The reason for which a request was rejected or given up; None where it was invalid, or failed."""
    if error.code == "unavailable":
        return lifecycle.state
    return error.code if error.code in _REJECTIONS else None
