"""Infinity (`/infinity/rerank`)."""

from __future__ import annotations

import time
import uuid

from msgspec import Struct
from rerank_core.errors import InvalidRequest, RerankError, TooManyDocuments, Unauthorized
from rerank_core.types import Scores

from rerank_server.body import BodyTooLarge, InvalidHeader, MalformedBody
from rerank_server.dialects import common, documents
from rerank_server.dialects.common import RerankRequest, WrongField
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import ErrorDetail
from rerank_server.dialects.jina import Detail
from rerank_server.dialects.native import FieldError, WrongFields
from rerank_server.errors import MethodNotAllowed, NotFound
from rerank_server.question import UnknownModel


class InfinityResult(Struct):
    """A document's position and its score; its text is a string, or null."""

    relevance_score: float
    index: int
    document: str | None


class InfinityUsage(Struct):
    """Tokens the model read."""

    prompt_tokens: int
    total_tokens: int


class InfinityResponse(Struct):
    """The documents, best first."""

    object: str
    id: str
    created: int
    model: str
    usage: InfinityUsage
    results: list[InfinityResult]


class InfinityError(Struct):
    """An error that is not one of fields."""

    error: ErrorDetail


def answer(request: RerankRequest, scores: Scores) -> InfinityResponse:
    """Ours → theirs."""
    texts = common.texts(request) if common.returns_documents(request) else None
    tokens = scores.usage.tokens
    return InfinityResponse(
        object="rerank",
        id=f"infinity-{uuid.uuid4()}",
        created=int(time.time()),
        model=scores.model,
        usage=InfinityUsage(tokens, tokens),
        results=[
            InfinityResult(best.score, best.index, texts[best.index] if texts else None)
            for best in common.ranked(request, scores)
        ],
    )


def error(error: RerankError) -> WrongFields | InfinityError | Detail:
    """How a failure looks in this language."""
    if isinstance(error, Unauthorized):
        return Detail(str(error))
    if status(error) == 422:
        place = error.field if isinstance(error, WrongField) and error.field else None
        return WrongFields([FieldError(["body", place] if place else ["body"], str(error), "value_error")])
    return InfinityError(ErrorDetail(str(error), error.code, None, error.code))


# What is wrong with a request, but with no field of its body.
_NOT_OF_FIELDS = (
    *(BodyTooLarge, InvalidHeader, TooManyDocuments, Unauthorized, UnknownModel),
    *(NotFound, MethodNotAllowed),
)


def status(error: RerankError) -> int | None:
    """Wrong fields and broken bodies are 422, another model 400."""
    if isinstance(error, UnknownModel):
        return 400
    is_of_fields = isinstance(error, InvalidRequest) and not isinstance(error, _NOT_OF_FIELDS)
    return 422 if is_of_fields or isinstance(error, MalformedBody) else None


INFINITY = Dialect(
    name="infinity",
    summary="As Infinity",
    read=common.read,
    question=common.question,
    answer=answer,
    error=error,
    status=status,
    request=RerankRequest,
    response=InfinityResponse,
    errors=(WrongFields, InfinityError, Detail),
    statuses={
        400: "Another model is asked for (RERANK_STRICT_MODEL), or a header says what cannot be.",
        422: "The body is not as it should be.",
    },
    example={"model": "default/not-specified", **documents.EXAMPLE, "return_documents": True},
    answered={
        "object": "rerank",
        "id": f"infinity-{documents.ID}",
        "created": 1767225600,
        "model": "BAAI/bge-reranker-v2-m3",
        "usage": {"prompt_tokens": 41, "total_tokens": 41},
        "results": [{"relevance_score": 0.9948, "index": 1, "document": "The giant panda is a bear of China."}],
    },
)
