"""Voyage (`/voyage/v1/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.errors import RerankError, TooManyDocuments
from rerank_core.types import Scores

from rerank_server.dialects import common, documents
from rerank_server.dialects.common import RerankRequest
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import Result
from rerank_server.dialects.jina import Detail, error
from rerank_server.question import UnknownModel


class VoyageUsage(Struct):
    """Tokens the model read."""

    total_tokens: int


class VoyageResponse(Struct):
    """The documents, best first; a document that is returned is a string."""

    object: str
    data: list[Result]
    model: str
    usage: VoyageUsage


def answer(request: RerankRequest, scores: Scores) -> VoyageResponse:
    """Ours → theirs."""
    data = documents.results(request, scores, as_text=True)
    return VoyageResponse("list", data, scores.model, VoyageUsage(scores.usage.tokens))


def status(error: RerankError) -> int | None:
    """Another model and too many documents are a wrong request too: its client knows neither 404 nor 413."""
    return 400 if isinstance(error, UnknownModel | TooManyDocuments) else None


VOYAGE = Dialect(
    name="voyage",
    summary="As Voyage",
    read=common.read,
    question=common.question,
    answer=answer,
    error=error,
    status=status,
    request=RerankRequest,
    response=VoyageResponse,
    errors=(Detail,),
    statuses={
        400: "The body is not as it should be, has too many documents, or asks for another model (RERANK_STRICT_MODEL)."
    },
    example={
        "query": documents.QUERY,
        "documents": documents.EXAMPLE["documents"],
        "model": "rerank-2.5",
        "top_k": 1,
        "truncation": True,
    },
    answered={
        "object": "list",
        "data": [{"index": 1, "relevance_score": 0.9948}],
        "model": "BAAI/bge-reranker-v2-m3",
        "usage": {"total_tokens": 41},
    },
)
