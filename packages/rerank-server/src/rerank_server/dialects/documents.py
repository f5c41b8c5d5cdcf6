"""The common request, answered in a superset of what the hosted APIs and most servers say.

Each of their clients finds what it reads, at one path: some of it tells by the body alone who asks.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import common
from rerank_server.dialects.common import RelevantSpan, RerankRequest, WrongField
from rerank_server.dialects.dialect import Dialect
from rerank_server.question import Question


class Result(Struct):
    """A document's position in the request and its score."""

    index: int
    relevance_score: float
    raw_score: float | UnsetType = UNSET
    document: dict[str, Any] | str | UnsetType = UNSET
    relevant_spans: list[RelevantSpan] | UnsetType = UNSET


class Usage(Struct):
    """Tokens the model read, and how many documents were cut."""

    prompt_tokens: int
    total_tokens: int
    truncated: int


class RerankResponse(Struct):
    """The documents, best first. ``data`` is there for Voyage's clients: the same once more."""

    id: str
    object: str
    created: int
    model: str
    results: list[Result]
    usage: Usage
    meta: dict[str, Any]
    data: list[Result] | UnsetType = UNSET


class ErrorDetail(Struct):
    """The error once more, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class DocumentsError(Struct):
    """An error. ``code`` is one of ours, and stays the same from version to version."""

    id: str
    message: str
    detail: str
    code: str
    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and whose client it came from: Infinity's reads documents as strings, Voyage's reads ``data``."""

    request: RerankRequest
    as_infinity: bool
    as_voyage: bool


def read(body: object) -> Asked:
    """The request. Raises ``InvalidRequest`` naming the field that is wrong."""
    request = common.read(body)
    keys = body.keys() if isinstance(body, dict) else ()
    # Keys that their own clients always send, be it with a null, and that others do not.
    return Asked(request, "raw_scores" in keys, "top_k" in keys or "truncation" in keys)


def question(asked: Asked) -> Question:
    """Theirs → ours."""
    return common.question(asked.request)


def answer(asked: Asked, scores: Scores) -> RerankResponse:
    """Ours → theirs."""
    return RerankResponse(
        id=str(uuid.uuid4()),
        object="rerank",
        created=int(time.time()),
        model=scores.model,
        results=results(
            asked.request,
            scores,
            as_text=asked.as_infinity,
            spans=True,
            raw_values=scores.raw_values if asked.request.return_raw_scores else None,
        ),
        usage=usage(scores),
        meta=meta(scores),
        data=results(asked.request, scores, as_text=True) if asked.as_voyage else UNSET,
    )


def results(
    request: RerankRequest,
    scores: Scores,
    *,
    as_text: bool = False,
    spans: bool | None = None,
    raw_values: Sequence[float] | None = None,
) -> list[Result]:
    """The best documents, best first, with their texts where they are asked for, and so with their ``spans``.

    With ``raw_values`` each has its own.
    """
    spans = common.asks_for_spans(request) if spans is None else spans
    given = documents(request) if common.returns_documents(request) else None
    texts = common.texts(request) if as_text and given else None
    return [
        Result(
            index=best.index,
            relevance_score=best.score,
            raw_score=raw_values[best.index] if raw_values else UNSET,
            document=texts[best.index] if texts else given[best.index] if given else UNSET,
            relevant_spans=common.spans_of(request, best) if spans else UNSET,
        )
        for best in common.ranked(request, scores)
    ]


def documents(request: RerankRequest) -> list[dict[str, Any]]:
    """The documents as objects: those that were objects with all of their fields, and what was read as ``text``."""
    given = request.documents if isinstance(request.documents, list) else [request.documents]
    read = common.texts(request)
    return [
        {"text": text} if isinstance(document, str) else {"text": text} | document
        for document, text in zip(given, read, strict=True)
    ]


def usage(scores: Scores) -> Usage:
    """What it cost."""
    tokens = scores.usage.tokens
    return Usage(prompt_tokens=tokens, total_tokens=tokens, truncated=scores.usage.truncated)


def meta(scores: Scores, version: str = "2") -> dict[str, Any]:
    """What it cost, as Cohere says it."""
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": scores.usage.tokens, "output_tokens": 0},
    }


def error(error: RerankError) -> DocumentsError:
    """How a failure looks in this language."""
    message = str(error)
    param = error.field if isinstance(error, WrongField) else None
    return DocumentsError(
        id=str(uuid.uuid4()),
        message=message,
        detail=message,
        code=error.code,
        error=ErrorDetail(message=message, type=error.code, param=param, code=error.code),
    )


QUERY = "what is a panda?"
EXAMPLE = {"query": QUERY, "documents": ["Paris is a city.", "The giant panda is a bear of China."], "top_n": 1}
ID = "6f8c2a1e-6f0f-4d34-9a3e-0a9b8f0a7c11"

DOCUMENTS = Dialect(
    name="documents",
    summary="Order documents by how well they answer a query",
    read=read,
    question=question,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=RerankResponse,
    errors=(DocumentsError,),
    statuses={400: "The body is not as it should be.", 404: "Another model is asked for (RERANK_STRICT_MODEL)."},
    example=EXAMPLE,
    answered={
        "id": ID,
        "object": "rerank",
        "created": 1767225600,
        "model": "BAAI/bge-reranker-v2-m3",
        "results": [{"index": 1, "relevance_score": 0.9948}],
        "usage": {"prompt_tokens": 41, "total_tokens": 41, "truncated": 0},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 41, "output_tokens": 0},
        },
    },
)
