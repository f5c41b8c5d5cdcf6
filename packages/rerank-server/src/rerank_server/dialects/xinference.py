"""Xinference (`/xinference/v1/rerank`)."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import Struct
from rerank_core.types import Scores

from rerank_server.dialects import common, documents
from rerank_server.dialects.common import RerankRequest
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.jina import Detail, error


class XinferenceResult(Struct):
    """A document's position and its score; null where its text is not asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None


class XinferenceResponse(Struct):
    """The documents, best first."""

    id: str
    results: list[XinferenceResult]
    meta: dict[str, Any]


def answer(request: RerankRequest, scores: Scores) -> XinferenceResponse:
    """Ours → theirs."""
    given = documents.documents(request) if common.returns_documents(request) else None
    results = [
        XinferenceResult(best.index, best.score, given[best.index] if given else None)
        for best in common.ranked(request, scores)
    ]
    return XinferenceResponse(str(uuid.uuid4()), results, {**documents.meta(scores), "warnings": None})


XINFERENCE = Dialect(
    name="xinference",
    summary="As Xinference",
    read=common.read,
    question=common.question,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=XinferenceResponse,
    errors=(Detail,),
    statuses=documents.DOCUMENTS.statuses,
    example={"model": "bge-reranker-v2-m3", **documents.EXAMPLE},
    answered={
        "id": documents.ID,
        "results": [{"index": 1, "relevance_score": 0.9948, "document": None}],
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 41, "output_tokens": 0},
            "warnings": None,
        },
    },
)
