"""The server of llama.cpp (`/llamacpp/...`): logits, never between 0 and 1 by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from msgspec import Meta, Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import common, documents, tei
from rerank_server.dialects.common import RerankRequest
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import Result
from rerank_server.dialects.jina import JinaUsage
from rerank_server.question import Question
from rerank_server.statuses import status_of


class LlamaResponse(Struct):
    """The documents, best first."""

    model: str
    object: str
    usage: JinaUsage
    results: list[Result]


class LlamaErrorDetail(Struct):
    """An error: its status once more, and what kind it is."""

    code: int
    message: str
    type: str


class LlamaError(Struct):
    """An error."""

    error: LlamaErrorDetail


_TYPES = {401: "authentication_error", 404: "not_found_error", 503: "unavailable_error"}


def question(request: RerankRequest) -> Question:
    """Theirs → ours."""
    return common.question(request, raw_by_default=True)


def answer(request: RerankRequest, scores: Scores) -> LlamaResponse:
    """Ours → theirs."""
    tokens = scores.usage.tokens
    return LlamaResponse(scores.model, "list", JinaUsage(tokens, tokens), documents.results(request, scores))


def error(error: RerankError) -> LlamaError:
    """How a failure looks in this language."""
    code = status_of(error)
    kind = _TYPES.get(code) or ("invalid_request_error" if code < 500 else "server_error")
    return LlamaError(LlamaErrorDetail(code, str(error), kind))


LLAMA_CPP = Dialect(
    name="llama.cpp",
    summary="As llama.cpp",
    read=common.read,
    question=question,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=LlamaResponse,
    errors=(LlamaError,),
    statuses=documents.DOCUMENTS.statuses,
    example=documents.EXAMPLE,
    answered={
        "model": "BAAI/bge-reranker-v2-m3",
        "object": "list",
        "usage": {"total_tokens": 41, "prompt_tokens": 41},
        "results": [{"index": 1, "relevance_score": 5.26}],
    },
)


class LlamaTextsRequest(tei.TeiRequest, kw_only=True):
    """A query and the texts to order, and how many of the best."""

    top_n: Annotated[int | None, Meta(description="How many to return; all without it, and for 0.")] = None
    model: Annotated[str | None, Meta(description="Any name, unless RERANK_STRICT_MODEL: one model runs here.")] = None


def read_texts(body: object) -> LlamaTextsRequest:
    """The request of a body with ``texts``. Raises ``WrongField``."""
    request = tei.read_as(LlamaTextsRequest, body)
    common.count("top_n", request.top_n)  # before anything is computed
    return request


def texts_question(request: LlamaTextsRequest) -> Question:
    """Theirs → ours, for a body with ``texts``."""
    asked = tei.question(request)
    return replace(asked, options=replace(asked.options, raw=request.raw_scores is not False), model=request.model)


def texts_answer(request: LlamaTextsRequest, scores: Scores) -> list[tei.TeiRank]:
    """Ours → theirs, for a body with ``texts``."""
    return tei.answer(request, scores)[: common.count("top_n", request.top_n)]


LLAMA_CPP_TEXTS = replace(
    tei.TEI,
    name="llama.cpp texts",
    summary="As llama.cpp, with texts",
    read=read_texts,
    question=texts_question,
    answer=texts_answer,
    error=error,
    status=LLAMA_CPP.status,
    request=LlamaTextsRequest,
    errors=LLAMA_CPP.errors,
    statuses=LLAMA_CPP.statuses,
    answered=[{"index": 1, "score": 5.26}, {"index": 0, "score": -8.19}],
)
