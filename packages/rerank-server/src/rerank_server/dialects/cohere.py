"""Cohere, versions 1 and 2 (`/cohere/v1/rerank`, `/cohere/v2/rerank`)."""

from __future__ import annotations

import uuid
from typing import Any

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import common, documents
from rerank_server.dialects.common import RerankRequest
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import Result


class CohereResponse(Struct):
    """The documents, best first."""

    id: str
    results: list[Result]
    meta: dict[str, Any]


class CohereError(Struct):
    """An error."""

    id: str
    message: str


def error(error: RerankError) -> CohereError:
    """How a failure looks in this language."""
    return CohereError(str(uuid.uuid4()), str(error))


def _dialect(version: str) -> Dialect:
    def answer(request: RerankRequest, scores: Scores) -> CohereResponse:
        meta = documents.meta(scores, version)
        return CohereResponse(str(uuid.uuid4()), documents.results(request, scores), meta)

    return Dialect(
        name=f"cohere v{version}",
        summary=f"As Cohere's version {version}",
        read=common.read,
        question=common.question,
        answer=answer,
        error=error,
        request=RerankRequest,
        response=CohereResponse,
        errors=(CohereError,),
        statuses=documents.DOCUMENTS.statuses,
        example={"model": "rerank-v3.5", **documents.EXAMPLE},
        answered={
            "id": documents.ID,
            "results": [{"index": 1, "relevance_score": 0.9948}],
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": 41, "output_tokens": 0},
            },
        },
    )


COHERE_V1 = _dialect("1")
COHERE_V2 = _dialect("2")
