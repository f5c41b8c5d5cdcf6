"""One query and many documents, in the shape that the hosted APIs and most servers share.

The body is a superset of theirs, so that each of their clients finds what it reads.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Annotated, Any, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from rerank_core.errors import InvalidRequest, RerankError
from rerank_core.ranking import rank
from rerank_core.types import Pair, ScoreOptions, Scores, Truncation, TruncationSide

from rerank_server.dialects.dialect import Dialect
from rerank_server.question import Question


class Document(Struct):
    """A document with its text in a field."""

    text: str


class RerankRequest(Struct):
    """A query and the documents to order. A null is as good as nothing; unknown fields are ignored."""

    query: Annotated[str, Meta(description="What the documents should answer.")]
    documents: Annotated[
        list[str | Document] | str, Meta(description="The documents: strings, or objects with a `text`.")
    ]
    model: Annotated[str | None, Meta(description="Any name: one model runs here, and the answer says which.")] = None
    top_n: Annotated[int | None, Meta(description="How many to return; all without it, and for 0.")] = None
    return_documents: Annotated[bool | None, Meta(description="Return each document's text with its score.")] = None
    raw_scores: Annotated[bool | None, Meta(description="The model's own numbers instead of [0, 1].")] = None
    truncate: Annotated[
        bool | None, Meta(description="Cut what is longer than the model reads (the default), or refuse it.")
    ] = None
    truncation_strategy: Annotated[Truncation | None, Meta(description="What is cut; by default as configured.")] = None
    truncation_side: Annotated[TruncationSide | None, Meta(description="Where it is cut; right by default.")] = None
    max_tokens_per_query: Annotated[int | None, Meta(description="Cut the query to so many tokens first.")] = None
    max_tokens_per_doc: Annotated[int | None, Meta(description="Cut each document to so many tokens first.")] = None


class Result(Struct):
    """A document's position in the request and its score."""

    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class Usage(Struct):
    """Tokens the model read, and how many documents were cut."""

    prompt_tokens: int
    total_tokens: int
    truncated: int


class RerankResponse(Struct):
    """The documents, best first."""

    id: str
    object: str
    created: int
    model: str
    results: list[Result]
    usage: Usage
    meta: dict[str, Any]


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


class WrongField(InvalidRequest):
    """A field that is missing or of the wrong type."""

    def __init__(self, message: str, *, field: str | None) -> None:
        super().__init__(message)
        self.field = field


def read(body: object) -> RerankRequest:
    """The request. Raises ``InvalidRequest`` naming the field that is wrong."""
    try:
        request = msgspec.convert(_without_nulls(body), RerankRequest, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None
    if not request.documents:
        raise WrongField("documents is empty: send at least one", field="documents")
    if request.top_n is not None and request.top_n < 0:
        raise WrongField(f"top_n is {request.top_n}: use 1 or more, or leave it out for all", field="top_n")
    for name, cap in (("query", request.max_tokens_per_query), ("doc", request.max_tokens_per_doc)):
        if cap is not None and cap < 1:
            field = f"max_tokens_per_{name}"
            raise WrongField(f"{field} is {cap}: use 1 or more, or leave it out for no cap", field=field)
    return request


def question(request: RerankRequest) -> Question:
    """Theirs → ours. Raises ``InvalidRequest``."""
    options = ScoreOptions(
        raw=bool(request.raw_scores),
        truncate=request.truncate is not False,
        truncation=request.truncation_strategy,
        truncation_side=request.truncation_side or "right",
        max_query_tokens=request.max_tokens_per_query,
        max_document_tokens=request.max_tokens_per_doc,
    )
    return Question([Pair(request.query, text) for text in _texts(request)], options)


def answer(request: RerankRequest, scores: Scores) -> RerankResponse:
    """Ours → theirs."""
    texts = _texts(request)
    usage = scores.usage
    return RerankResponse(
        id=str(uuid.uuid4()),
        object="rerank",
        created=int(time.time()),
        model=scores.model,
        results=[
            Result(
                index=ranked.index,
                relevance_score=ranked.score,
                document=Document(texts[ranked.index]) if request.return_documents else UNSET,
            )
            for ranked in rank(scores, top_n=request.top_n or None)
        ],
        usage=Usage(prompt_tokens=usage.tokens, total_tokens=usage.tokens, truncated=usage.truncated),
        meta={
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": usage.tokens, "output_tokens": 0},
        },
    )


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


_CHOICES = {"truncation_strategy": get_args(Truncation), "truncation_side": get_args(TruncationSide)}

DOCUMENTS = Dialect(read=read, question=question, answer=answer, error=error, status=lambda _: None)


def _texts(request: RerankRequest) -> list[str]:
    documents = [request.documents] if isinstance(request.documents, str) else request.documents
    return [document if isinstance(document, str) else document.text for document in documents]


def _without_nulls(body: object) -> object:
    """Real clients send null for whatever they leave open."""
    return {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body


def _wrong_field(message: str) -> WrongField:
    """Msgspec's message, with the field in front: ``Expected `str`, got `int` - at `$.query` ``."""
    if missing := re.search(r"missing required field `(\w+)`(?: - at `\$\.?(.*)`)?$", message):
        place = ".".join(part for part in (missing[2], missing[1]) if part)
        return WrongField(f"{place} is missing", field=place)
    reason, _, place = message.partition(" - at `$")
    if reason.startswith("Invalid enum value"):  # it repeats what was sent, and does not say what may be
        reason = f"Expected one of {', '.join(_CHOICES.get(place.strip('`.'), ()))}"
    place = place.strip("`.")
    reason = reason.replace("`", "").removesuffix(" | null")
    if not place:
        return WrongField(f"the body is not as it should be: {reason}", field=None)
    return WrongField(f"{place}: {reason[0].lower()}{reason[1:]}", field=place)
