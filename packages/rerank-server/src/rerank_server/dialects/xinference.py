"""Xinference (`/xinference/v1/rerank`)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import CohereMeta, Detail


class XinferenceResult(Struct):
    """A document's position and its score; null where its text is not asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None


class XinferenceMeta(CohereMeta):
    """The usage, and the warnings: always null."""

    warnings: list[str] | None = None


class XinferenceResponse(Struct):
    """The documents, best first."""

    id: str
    results: list[XinferenceResult]
    meta: XinferenceMeta


def answer(request: RerankRequest, scores: Scores, reply: Reply) -> XinferenceResponse:
    """Translate the scores."""
    given = replies.documents(request) if fields.returns_documents(request) else None
    results = [
        XinferenceResult(best.index, best.score, given[best.index] if given else None)
        for best in fields.ranked(request, scores)
    ]
    meta = replies.cohere_meta(scores)
    return XinferenceResponse(reply.id, results, XinferenceMeta(meta.api_version, meta.billed_units, meta.tokens))


XINFERENCE = Dialect(
    model_owner="xinference",
    name="xinference",
    summary="Order documents, as Xinference does",
    read=fields.read,
    score_request=fields.score_request,
    has_sentences=False,
    answer=answer,
    error=replies.detail,
    request=RerankRequest,
    response=XinferenceResponse,
    errors=(Detail,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example={"model": "bge-reranker-v2-m3", **examples.REQUEST},
    answered={
        "id": examples.REPLY.id,
        "results": [{"index": 1, "relevance_score": 0.9948, "document": None}],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 41, "output_tokens": 0},
            "warnings": None,
        },
    },
)
