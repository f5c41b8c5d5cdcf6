"""Jina, and SiliconFlow, whose API is the same (`/jina/v1/rerank`, `/siliconflow/v1/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import Detail, Result


class JinaUsage(Struct):
    """The number of tokens that the model read."""

    total_tokens: int
    prompt_tokens: int


class JinaResponse(Struct):
    """The documents, best first."""

    model: str
    usage: JinaUsage
    results: list[Result]


def answer(request: RerankRequest, scores: Scores, _: Reply) -> JinaResponse:
    """Translate the scores."""
    tokens = scores.usage.tokens
    return JinaResponse(scores.model, JinaUsage(tokens, tokens), replies.results(request, scores))


JINA = Dialect(
    name="jina",
    summary="Order documents, as Jina and SiliconFlow do",
    read=fields.read,
    score_request=fields.score_request,
    answer=answer,
    error=replies.detail,
    request=RerankRequest,
    response=JinaResponse,
    errors=(Detail,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example={"model": "jina-reranker-v2-base-multilingual", **examples.REQUEST},
    answered={
        "model": examples.MODEL,
        "usage": {"total_tokens": 41, "prompt_tokens": 41},
        "results": [{"index": 1, "relevance_score": 0.9948}],
    },
)
