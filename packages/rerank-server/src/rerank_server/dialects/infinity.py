"""Infinity (`/infinity/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import Detail, ErrorDetail, FieldError, UnixTime, WrongFields
from rerank_server.errors import field_of, public_code, status_of


class InfinityResult(Struct):
    """A document's position and its score; its text is a string, or null."""

    relevance_score: float
    index: int
    document: str | None


class InfinityUsage(Struct):
    """The number of tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class InfinityResponse(Struct):
    """The documents, best first."""

    object: str
    id: str
    created: UnixTime
    model: str
    usage: InfinityUsage
    results: list[InfinityResult]


class InfinityError(Struct):
    """An error that is not one of fields."""

    error: ErrorDetail


# Any error of the body is 422.
STATUSES = {"invalid_request": 422, "unknown_model": 400}


def answer(request: RerankRequest, scores: Scores, reply: Reply) -> InfinityResponse:
    """Translate the scores."""
    texts = fields.texts(request) if fields.returns_documents(request) else None
    tokens = scores.usage.tokens
    return InfinityResponse(
        object="rerank",
        id=f"infinity-{reply.id}",
        created=reply.created,
        model=scores.model,
        usage=InfinityUsage(tokens, tokens),
        results=[
            InfinityResult(best.score, best.index, texts[best.index] if texts else None)
            for best in fields.ranked(request, scores)
        ],
    )


def error(error: RerankError, _: Reply) -> WrongFields | InfinityError | Detail:
    """Translate an error: its shape depends on its status."""
    match status_of(error, STATUSES):
        case 401:
            return Detail(str(error))
        case 422:
            place = field_of(error)
            return WrongFields([FieldError(["body", place] if place else ["body"], str(error), "value_error")])
        case _:
            code = public_code(error)
            return InfinityError(ErrorDetail(str(error), code, None, code))


INFINITY = Dialect(
    model_owner="infinity",
    name="infinity",
    summary="Order documents, as Infinity does",
    read=fields.read,
    score_request=fields.score_request,
    has_sentences=False,
    answer=answer,
    error=error,
    statuses=STATUSES,
    request=RerankRequest,
    response=InfinityResponse,
    errors=(WrongFields, InfinityError, Detail),
    error_descriptions={
        400: "The request names another model (RERANK_STRICT_MODEL is set), or a header has an impossible value.",
        422: "The body is invalid.",
    },
    example={"model": "default/not-specified", **examples.REQUEST, "return_documents": True},
    answered={
        "object": "rerank",
        "id": f"infinity-{examples.REPLY.id}",
        "created": examples.REPLY.created,
        "model": examples.MODEL,
        "usage": {"prompt_tokens": 41, "total_tokens": 41},
        "results": [{"relevance_score": 0.9948, "index": 1, "document": examples.PANDA}],
    },
)
