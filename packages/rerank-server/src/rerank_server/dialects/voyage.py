"""Voyage (`/voyage/v1/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import Detail, Result


class VoyageUsage(Struct):
    """The number of tokens that the model read."""

    total_tokens: int


class VoyageResponse(Struct):
    """The documents, best first; a document that is returned is a string."""

    object: str
    data: list[Result]
    model: str
    usage: VoyageUsage


def answer(request: RerankRequest, scores: Scores, _: Reply) -> VoyageResponse:
    """Translate the scores."""
    data = replies.results(request, scores, as_text=True)
    return VoyageResponse("list", data, scores.model, VoyageUsage(scores.usage.tokens))


VOYAGE = Dialect(
    name="voyage",
    summary="Order documents, as Voyage does",
    read=fields.read,
    score_request=fields.score_request,
    answer=answer,
    error=replies.detail,
    statuses={"unknown_model": 400, "too_many_documents": 400},  # its client knows neither 404 nor 413
    request=RerankRequest,
    response=VoyageResponse,
    errors=(Detail,),
    error_descriptions={
        400: "The body is invalid, has too many documents, or names another model (RERANK_STRICT_MODEL is set)."
    },
    example={
        "query": examples.QUERY,
        "documents": examples.DOCUMENTS,
        "model": "rerank-2.5",
        "top_k": 1,
        "truncation": True,
    },
    answered={
        "object": "list",
        "data": [{"index": 1, "relevance_score": 0.9948}],
        "model": examples.MODEL,
        "usage": {"total_tokens": 41},
    },
)
