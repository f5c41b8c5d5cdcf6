"""Parts of responses that several dialects have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType
from rerank_core.errors import RerankError
from rerank_core.types import Scores

from rerank_server.dialects import fields
from rerank_server.dialects.base import Reply
from rerank_server.dialects.fields import RelevantSpan, RerankRequest
from rerank_server.errors import field_of, public_code

UnixTime: TypeAlias = Annotated[int, Meta(description="In seconds since 1970.", extra_json_schema={"format": "int64"})]


class ApiVersion(Struct):
    """The version of Cohere's API."""

    version: str


class BilledUnits(Struct):
    """The billed units of Cohere's API: always one search."""

    search_units: int


class TokenCounts(Struct):
    """The number of tokens that the model read, and of those that it wrote: a reranker writes none."""

    input_tokens: int
    output_tokens: int


class CohereMeta(Struct):
    """The usage in the shape of Cohere's API."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: TokenCounts


class Result(Struct):
    """A document's position in the request and its score."""

    index: int
    relevance_score: float
    raw_score: Annotated[float | UnsetType, Meta(description="The raw score (logit); with `return_raw_scores`.")] = (
        UNSET
    )
    document: dict[str, Any] | str | UnsetType = UNSET
    relevant_spans: Annotated[
        list[RelevantSpan] | UnsetType,
        Meta(description="The best window of the document, or all that was read of it; with windows or `highlight`."),
    ] = UNSET
    sentences: Annotated[
        list[RelevantSpan] | UnsetType,
        Meta(description="The best sentences of the document, at most three, best first; with `highlight`."),
    ] = UNSET


class ErrorDetail(Struct):
    """An error in the shape of OpenAI's API."""

    message: str
    type: str
    param: str | None
    code: str


class DocumentsError(Struct):
    """An error. ``code`` is stable: it stays the same from version to version."""

    id: str
    message: str
    detail: str
    code: str
    error: ErrorDetail


class Detail(Struct):
    """An error, in one sentence."""

    detail: str


class FieldError(Struct):
    """The error of one field, in the shape of pydantic's validation errors."""

    loc: list[str | int]
    msg: str
    type: str


class WrongFields(Struct):
    """All wrong fields of a body."""

    detail: list[FieldError]


def results(
    request: RerankRequest,
    scores: Scores,
    *,
    as_text: bool = False,
    spans: bool | None = None,
    raw_values: Sequence[float] | None = None,
) -> list[Result]:
    """The best documents, best first; with their texts, and with their spans, where the request asks for them.

    ``as_text``: texts are strings instead of objects. ``spans``: True gives all spans, whatever the request asks for.
    ``raw_values``: the raw score of each document, to be given beside its score.
    """
    spans = fields.asks_for_spans(request) if spans is None else spans
    given = documents(request) if fields.returns_documents(request) else None
    texts = fields.texts(request) if as_text and given else None
    return [
        Result(
            index=best.index,
            relevance_score=best.score,
            raw_score=raw_values[best.index] if raw_values else UNSET,
            document=texts[best.index] if texts else given[best.index] if given else UNSET,
            relevant_spans=fields.spans_of(request, best) if spans else UNSET,
            sentences=fields.sentences_of(best),
        )
        for best in fields.ranked(request, scores)
    ]


def documents(request: RerankRequest) -> list[dict[str, Any]]:
    """The documents as objects: all fields of a document that was an object, and the text that was read as ``text``."""
    given = request.documents if isinstance(request.documents, list) else [request.documents]
    return [
        {"text": text} if isinstance(document, str) else {"text": text} | document
        for document, text in zip(given, fields.texts(request), strict=True)
    ]


def cohere_meta(scores: Scores, version: str = "2") -> CohereMeta:
    """The usage in the shape of Cohere's API."""
    return CohereMeta(ApiVersion(version), BilledUnits(1), TokenCounts(scores.usage.tokens, 0))


def detail(error: RerankError, _: Reply) -> Detail:
    """Translate an error to one sentence."""
    return Detail(str(error))


def documents_error(error: RerankError, reply: Reply) -> DocumentsError:
    """Translate an error to the shape that the clients of most vendors can read."""
    message, code = str(error), public_code(error)
    shape = ErrorDetail(message=message, type=code, param=field_of(error), code=code)
    return DocumentsError(id=reply.id, message=message, detail=message, code=code, error=shape)
