"""Jina, and SiliconFlow, which speaks as Jina does (`/jina/v1/rerank`, `/siliconflow/v1/rerank`)."""

from __future__ import annotations

from msgspec import Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import common, documents
from rerank_server.dialects.common import RerankRequest
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import Result


class JinaUsage(Struct):
    """Tokens the model read."""

    total_tokens: int
    prompt_tokens: int


class JinaResponse(Struct):
    """The documents, best first."""

    model: str
    usage: JinaUsage
    results: list[Result]


class Detail(Struct):
    """An error, in one sentence."""

    detail: str


def answer(request: RerankRequest, scores: Scores) -> JinaResponse:
    """Ours → theirs."""
    tokens = scores.usage.tokens
    return JinaResponse(scores.model, JinaUsage(tokens, tokens), documents.results(request, scores))


def error(error: RerankError) -> Detail:
    """How a failure looks in this language."""
    return Detail(str(error))


JINA = Dialect(
    name="jina",
    summary="As Jina and SiliconFlow",
    read=common.read,
    question=common.question,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=JinaResponse,
    errors=(Detail,),
    statuses=documents.DOCUMENTS.statuses,
    example={"model": "jina-reranker-v2-base-multilingual", **documents.EXAMPLE},
    answered={
        "model": "BAAI/bge-reranker-v2-m3",
        "usage": {"total_tokens": 41, "prompt_tokens": 41},
        "results": [{"index": 1, "relevance_score": 0.9948}],
    },
)
