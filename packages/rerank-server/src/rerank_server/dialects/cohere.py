"""Cohere, versions 1 and 2 (`/cohere/v1/rerank`, `/cohere/v2/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import CohereMeta, Result


class CohereResponse(Struct):
    """The documents, best first."""

    id: str
    results: list[Result]
    meta: CohereMeta


class CohereError(Struct):
    """An error."""

    id: str
    message: str


def error(error: RerankError, reply: Reply) -> CohereError:
    """Translate an error."""
    return CohereError(reply.id, str(error))


def _dialect(version: str) -> Dialect:
    def answer(request: RerankRequest, scores: Scores, reply: Reply) -> CohereResponse:
        return CohereResponse(reply.id, replies.results(request, scores), replies.cohere_meta(scores, version))

    return Dialect(
        name=f"cohere v{version}",
        summary=f"Order documents, as version {version} of Cohere's API does",
        read=fields.read,
        score_request=fields.score_request,
        answer=answer,
        error=error,
        request=RerankRequest,
        response=CohereResponse,
        errors=(CohereError,),
        error_descriptions=examples.ERROR_DESCRIPTIONS,
        example={"model": "rerank-v3.5", **examples.REQUEST},
        answered={
            "id": examples.REPLY.id,
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
