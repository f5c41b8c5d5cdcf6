"""vLLM (`/vllm/...`), and its scores of pairs (`/score`, `/v1/score`)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct
from rerank_core.errors import RerankError
from rerank_core.types import Pair, Scores

from rerank_server.dialects import examples, fields
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import RerankRequest, ScoringFields
from rerank_server.dialects.replies import UnixTime
from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import NoDocuments, WrongField, field_of, status_of

Texts: TypeAlias = list[str | dict[str, Any]] | str | dict[str, Any]


class VllmUsage(Struct):
    """The number of tokens that the model read, and of pairs that were truncated; its clients ignore the latter."""

    prompt_tokens: int
    total_tokens: int
    truncated: int


class VllmDocument(Struct):
    """A document's text."""

    text: str
    multi_modal: None = None


class VllmResult(Struct):
    """A document's position in the request, its text and its score."""

    index: int
    document: VllmDocument
    relevance_score: float


class VllmResponse(Struct):
    """The documents, best first."""

    id: str
    model: str
    usage: VllmUsage
    results: list[VllmResult]


class VllmScoreRequest(ScoringFields, kw_only=True):
    """One text and one, one and many, or two lists of the same length, under one of four pairs of names."""

    queries: Annotated[Texts | None, Meta(description="The queries, beside `documents` or `items`.")] = None
    documents: Annotated[Texts | None, Meta(description="The documents, beside `queries`.")] = None
    items: Annotated[Texts | None, Meta(description="Another name of `documents`.")] = None
    data_1: Annotated[Texts | None, Meta(description="Another name of `queries`, beside `data_2`.")] = None
    data_2: Annotated[Texts | None, Meta(description="Another name of `documents`, beside `data_1`.")] = None
    text_1: Annotated[Texts | None, Meta(description="Another name of `queries`, beside `text_2`.")] = None
    text_2: Annotated[Texts | None, Meta(description="Another name of `documents`, beside `text_1`.")] = None


class ScoreData(Struct):
    """A pair's score."""

    index: int
    object: str
    score: float


class ScoreResponse(Struct):
    """The scores, in the order of the pairs."""

    id: str
    object: str
    created: UnixTime
    model: str
    data: list[ScoreData]
    usage: VllmUsage


class VllmErrorDetail(Struct):
    """An error; ``code`` is its status."""

    message: str
    type: str
    param: str | None
    code: int


class VllmError(Struct):
    """An error."""

    error: VllmErrorDetail


_TYPES = {401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError", 503: "ServiceUnavailableError"}


def answer(request: RerankRequest, scores: Scores, reply: Reply) -> VllmResponse:
    """Translate the scores."""
    texts = fields.texts(request)
    results = [
        VllmResult(best.index, VllmDocument(texts[best.index]), best.score) for best in fields.ranked(request, scores)
    ]
    return VllmResponse(_id(reply), scores.model, _usage(scores), results)


def read_score(body: object) -> VllmScoreRequest:
    """Read a body. Raises ``WrongField``."""
    request: VllmScoreRequest = fields.converted(body, VllmScoreRequest)
    return request


def score_request(request: VllmScoreRequest) -> ScoreRequest:
    """Translate the request. Raises ``WrongField``."""
    (left_name, left), (right_name, right) = _sides(request)
    lefts, rights = _texts(left, left_name), _texts(right, right_name)
    if not lefts or not rights:
        name = right_name if lefts else left_name
        raise NoDocuments(f"{name} is empty: send at least one", field=name)
    if len(lefts) not in (1, len(rights)):
        raise WrongField(
            f"{left_name} has {len(lefts)} texts and {right_name} {len(rights)}: send one, or as many", field=left_name
        )
    if len(lefts) == 1:
        lefts *= len(rights)
    return ScoreRequest(
        [Pair(*pair) for pair in zip(lefts, rights, strict=True)], fields.options(request), request.model
    )


def score_answer(_: VllmScoreRequest, scores: Scores, reply: Reply) -> ScoreResponse:
    """Translate the scores."""
    return ScoreResponse(
        id=_id(reply),
        object="list",
        created=reply.created,
        model=scores.model,
        data=[ScoreData(index, "score", value) for index, value in enumerate(scores.values)],
        usage=_usage(scores),
    )


def error(error: RerankError, _: Reply) -> VllmError:
    """Translate an error."""
    code = status_of(error)
    kind = _TYPES.get(code) or ("BadRequestError" if code < 500 else "InternalServerError")
    return VllmError(VllmErrorDetail(str(error), kind, field_of(error), code))


def _id(reply: Reply) -> str:
    return "score-" + reply.id.replace("-", "")


def _usage(scores: Scores) -> VllmUsage:
    return VllmUsage(scores.usage.tokens, scores.usage.tokens, scores.usage.truncated)


def _sides(request: VllmScoreRequest) -> tuple[tuple[str, Texts], tuple[str, Texts]]:
    names = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
    for left, right in names:
        one, other = getattr(request, left), getattr(request, right)
        if one is not None and other is not None:
            return (left, one), (right, other)
    wanted = ", ".join(f"{left} and {right}" for left, right in names)
    raise WrongField(f"the body needs two sides of the pairs: {wanted}", field=None)


def _texts(given: Texts, name: str) -> list[str]:
    if not isinstance(given, list):
        return [fields.text_of(given, name)]
    return [fields.text_of(each, f"{name}[{index}]") for index, each in enumerate(given)]


VLLM = Dialect(
    model_owner="vllm",
    name="vllm",
    summary="Order documents, as vLLM does",
    read=fields.read,
    score_request=fields.score_request,
    has_sentences=False,
    answer=answer,
    error=error,
    request=RerankRequest,
    response=VllmResponse,
    errors=(VllmError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example=examples.REQUEST,
    answered={
        "id": examples.SCORE_ID,
        "model": examples.MODEL,
        "usage": {"prompt_tokens": 41, "total_tokens": 41, "truncated": 0},
        "results": [
            {
                "index": 1,
                "document": {"text": examples.PANDA, "multi_modal": None},
                "relevance_score": 0.9948,
            }
        ],
    },
)

SCORE = Dialect(
    name="vllm score",
    summary="Score pairs, as vLLM does",
    read=read_score,
    score_request=score_request,
    answer=score_answer,
    error=error,
    request=VllmScoreRequest,
    response=ScoreResponse,
    errors=(VllmError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example={"text_1": [examples.QUERY], "text_2": examples.DOCUMENTS},
    answered={
        "id": examples.SCORE_ID,
        "object": "list",
        "created": examples.REPLY.created,
        "model": examples.MODEL,
        "data": [
            {"index": 0, "object": "score", "score": 0.0003},
            {"index": 1, "object": "score", "score": 0.9948},
        ],
        "usage": {"prompt_tokens": 41, "total_tokens": 41, "truncated": 0},
    },
)
