"""The server of llama.cpp (`/llamacpp/...`): its scores are logits, unless a request asks for others."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from msgspec import Meta, Struct
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies, texts
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import Result
from rerank_server.dialects.request import ScoreRequest
from rerank_server.dialects.texts import TeiRank, TeiRequest
from rerank_server.errors import status_of


class LlamaUsage(Struct):
    """The number of tokens that the model read."""

    total_tokens: int
    prompt_tokens: int


class LlamaResponse(Struct):
    """The documents, best first."""

    model: str
    object: str
    usage: LlamaUsage
    results: list[Result]


class LlamaErrorDetail(Struct):
    """An error, its status and its type."""

    code: int
    message: str
    type: str


class LlamaError(Struct):
    """An error."""

    error: LlamaErrorDetail


class LlamaTextsRequest(TeiRequest, kw_only=True):
    """A query and the texts to order, and the number of texts to return."""

    top_n: Annotated[
        int | None, Meta(description="The number of texts to return; without it, and for 0, all of them.")
    ] = None
    model: Annotated[
        str | None, Meta(description="The name of the model: any name is accepted, unless RERANK_STRICT_MODEL is set.")
    ] = None


_TYPES = {401: "authentication_error", 404: "not_found_error", 503: "unavailable_error"}


def score_request(request: RerankRequest) -> ScoreRequest:
    """Translate the request."""
    return fields.score_request(request, raw_by_default=True)


def answer(request: RerankRequest, scores: Scores, _: Reply) -> LlamaResponse:
    """Translate the scores."""
    tokens = scores.usage.tokens
    return LlamaResponse(scores.model, "list", LlamaUsage(tokens, tokens), replies.results(request, scores))


def read_texts(body: object) -> LlamaTextsRequest:
    """Read a body with ``texts``. Raises ``WrongField``."""
    request = texts.read(body, LlamaTextsRequest)
    fields.count("top_n", request.top_n)  # before anything is computed
    return request


def texts_score_request(request: LlamaTextsRequest) -> ScoreRequest:
    """Translate a request with ``texts``."""
    found = texts.score_request(request)
    return replace(found, options=replace(found.options, raw=request.raw_scores is not False), model=request.model)


def texts_answer(request: LlamaTextsRequest, scores: Scores, _: Reply) -> list[TeiRank]:
    """Translate the scores of texts."""
    return texts.ranks(request, scores)[: fields.count("top_n", request.top_n)]


def error(error: RerankError, _: Reply) -> LlamaError:
    """Translate an error."""
    code = status_of(error)
    kind = _TYPES.get(code) or ("invalid_request_error" if code < 500 else "server_error")
    return LlamaError(LlamaErrorDetail(code, str(error), kind))


LLAMA_CPP = Dialect(
    model_owner="llamacpp",
    name="llama.cpp",
    summary="As llama.cpp",
    read=fields.read,
    score_request=score_request,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=LlamaResponse,
    errors=(LlamaError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example=examples.REQUEST,
    answered={
        "model": examples.MODEL,
        "object": "list",
        "usage": {"total_tokens": 41, "prompt_tokens": 41},
        "results": [{"index": 1, "relevance_score": 5.26}],
    },
)

LLAMA_CPP_TEXTS = Dialect(
    name="llama.cpp texts",
    summary="As llama.cpp, with texts",
    read=read_texts,
    score_request=texts_score_request,
    answer=texts_answer,
    error=error,
    request=LlamaTextsRequest,
    response=list[TeiRank],
    errors=(LlamaError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example={"query": examples.QUERY, "texts": examples.DOCUMENTS},
    answered=[{"index": 1, "score": 5.26}, {"index": 0, "score": -8.19}],
)
