"""text-embeddings-inference: a body with `texts`, and `/tei/rerank`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import examples, texts
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.texts import TeiRank, TeiRequest
from rerank_server.errors import by_code

ErrorType: TypeAlias = Literal["Validation", "Empty", "Overloaded", "Backend", "Unhealthy", "Unauthorized"]


class TeiError(Struct):
    """An error and its type."""

    error: str
    error_type: ErrorType


_ERROR_TYPES: dict[str, ErrorType] = {
    "invalid_request": "Validation",
    "no_documents": "Empty",
    "unauthorized": "Unauthorized",
    "unavailable": "Unhealthy",
    "overloaded": "Overloaded",
    "deadline_exceeded": "Overloaded",
}


def read(body: object) -> TeiRequest:
    """Read a body. One without ``texts`` may call them ``documents``, as other dialects do. Raises ``WrongField``."""
    if isinstance(body, dict) and body.get("texts") is None and isinstance(body.get("documents"), list):
        body = body | {"texts": body["documents"]}
    return texts.read(body, TeiRequest)


def answer(request: TeiRequest, scores: Scores, _: Reply) -> list[TeiRank]:
    """Translate the scores."""
    return texts.ranks(request, scores)


def error(error: RerankError, _: Reply) -> TeiError:
    """Translate an error."""
    return TeiError(str(error), by_code(error, _ERROR_TYPES, "Backend"))


TEI = Dialect(
    name="tei",
    summary="Order texts, as text-embeddings-inference does",
    read=read,
    score_request=texts.score_request,
    answer=answer,
    error=error,
    statuses={
        "rerank_error": 424,  # a model that fails
        "invalid_request": 422,
        "too_many_documents": 422,
        "unknown_model": 422,
        "no_documents": 400,
        "malformed_body": 400,
        "wrong_content_type": 415,
    },
    request=TeiRequest,
    response=list[TeiRank],
    errors=(TeiError,),
    error_descriptions={
        400: "There are no texts, or the body is not JSON.",
        415: "The content type of the body is not JSON.",
        422: "The body is invalid.",
        424: "The model failed.",
    },
    example={"query": examples.QUERY, "texts": examples.DOCUMENTS},
    answered=[{"index": 1, "score": 0.9948}, {"index": 0, "score": 0.0003}],
)
