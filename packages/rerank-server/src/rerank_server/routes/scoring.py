"""The routes that score."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import msgspec
from litestar import Response, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from rerank_core.errors import InvalidRequest, ModelError, RerankError, Unavailable

from rerank_server.body import BodyTooLarge, read_json
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.dispatch import by_content_key, check_one_language
from rerank_server.dialects.documents import DOCUMENTS
from rerank_server.dialects.native import BATCH, PAIR
from rerank_server.lifecycle import Lifecycle
from rerank_server.question import Limits, ask
from rerank_server.routes.get import AnyRequest
from rerank_server.statuses import status_of

logger = logging.getLogger(__name__)


def scoring_routes(lifecycle: Lifecycle, limits: Limits) -> list[HTTPRouteHandler]:
    """``/rerank``, ``/rerank/batch`` and ``/v1/rerank``."""

    async def serve(
        request: AnyRequest, default: Dialect, choose: Callable[[object], Dialect] | None = None
    ) -> Response[bytes]:
        dialect = default
        try:
            with lifecycle.request() as service:
                body = read_json(await request.body(), request.headers.get("content-type"))
                check_one_language(body)
                dialect = choose(body) if choose else default
                wanted = dialect.read(body)
                scores = await ask(service, dialect.question(wanted), limits)
                return _json(dialect.answer(wanted, scores), 200)
        except RerankError as error:
            return _failure(dialect, error)
        except HTTPException as error:
            return _refusal(dialect, error, limits)
        except Exception:
            logger.exception("%s failed", request.url.path)
            return _failure(dialect, ModelError("the server failed on this request: its log says why"))

    @post("/rerank", status_code=200)
    async def rerank(request: AnyRequest) -> Response[bytes]:
        return await serve(request, PAIR, by_content_key)

    @post("/rerank/batch", status_code=200)
    async def rerank_batch(request: AnyRequest) -> Response[bytes]:
        return await serve(request, BATCH)

    @post("/v1/rerank", status_code=200)
    async def rerank_documents(request: AnyRequest) -> Response[bytes]:
        return await serve(request, DOCUMENTS)

    return [rerank, rerank_batch, rerank_documents]


def _json(content: msgspec.Struct, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(content), status_code=status, media_type="application/json", headers=headers)


def _failure(dialect: Dialect, error: RerankError) -> Response[bytes]:
    headers = {}
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return _json(dialect.error(error), dialect.status(error) or status_of(error), headers)


def _refusal(dialect: Dialect, error: HTTPException, limits: Limits) -> Response[bytes]:
    """What the framework refused: in practice a body over the limit."""
    if error.status_code != 413:
        return _json(dialect.error(InvalidRequest(error.detail)), error.status_code)
    too_large = BodyTooLarge(
        f"the body is larger than the {limits.max_body_bytes} bytes that a request may have: "
        "send several requests (the limit is RERANK_MAX_BODY_BYTES)"
    )
    return _json(dialect.error(too_large), 413)
