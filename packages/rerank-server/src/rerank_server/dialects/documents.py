"""The common request, answered in a superset of the responses of the hosted APIs and of most servers.

All of these have the same paths, and their clients cannot always be distinguished: each finds the fields that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET, Struct, UnsetType
from rerank_core.types import Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest
from rerank_server.dialects.replies import CohereMeta, DocumentsError, Result, UnixTime
from rerank_server.dialects.request import ScoreRequest


class Usage(Struct):
    """The number of tokens that the model read, and of documents that were truncated."""

    prompt_tokens: int
    total_tokens: int
    truncated: int


class RerankResponse(Struct):
    """The documents, best first. ``data`` is for Voyage's clients: the results once more."""

    id: str
    object: str
    created: UnixTime
    model: str
    results: list[Result]
    usage: Usage
    meta: CohereMeta
    data: list[Result] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class DocumentsRequest:
    """A request, and whose client sent it: Infinity's reads documents as strings, Voyage's reads ``data``."""

    request: RerankRequest
    as_infinity: bool
    as_voyage: bool


def read(body: object) -> DocumentsRequest:
    """Read a body. Raises ``InvalidRequest`` naming the wrong field."""
    request = fields.read(body)
    keys = body.keys() if isinstance(body, dict) else ()
    # Keys that these clients always send, with a null too, and that no other client sends.
    return DocumentsRequest(request, "raw_scores" in keys, "top_k" in keys or "truncation" in keys)


def score_request(request: DocumentsRequest) -> ScoreRequest:
    """Translate the request."""
    return fields.score_request(request.request)


def answer(request: DocumentsRequest, scores: Scores, reply: Reply) -> RerankResponse:
    """Translate the scores."""
    tokens = scores.usage.tokens
    raw_values = scores.raw_values if request.request.return_raw_scores else None
    return RerankResponse(
        id=reply.id,
        object="rerank",
        created=reply.created,
        model=scores.model,
        results=replies.results(
            request.request, scores, as_text=request.as_infinity, spans=True, raw_values=raw_values
        ),
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens, truncated=scores.usage.truncated),
        meta=replies.cohere_meta(scores),
        data=replies.results(request.request, scores, as_text=True) if request.as_voyage else UNSET,
    )


DOCUMENTS = Dialect(
    name="documents",
    summary="Order documents by how well they answer a query",
    read=read,
    score_request=score_request,
    answer=answer,
    error=replies.documents_error,
    request=RerankRequest,
    response=RerankResponse,
    errors=(DocumentsError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example=examples.REQUEST,
    answered={
        "id": examples.REPLY.id,
        "object": "rerank",
        "created": examples.REPLY.created,
        "model": examples.MODEL,
        "results": [{"index": 1, "relevance_score": 0.9948}],
        "usage": {"prompt_tokens": 41, "total_tokens": 41, "truncated": 0},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": 41, "output_tokens": 0},
        },
    },
)
