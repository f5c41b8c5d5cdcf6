"""text-embeddings-inference: a body with `texts`, and `/tei/rerank`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType
from rerank_core.errors import InvalidRequest, RerankError, Unauthorized
from rerank_core.ranking import rank
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.body import BodyTooLarge, InvalidHeader, MalformedBody
from rerank_server.dialects import common
from rerank_server.dialects.common import Flag, NoDocuments
from rerank_server.dialects.dialect import Dialect
from rerank_server.dialects.documents import QUERY
from rerank_server.question import Question


class TeiRequest(Struct):
    """A query and the texts to order. Unknown fields are ignored; there is no number of the best."""

    query: Annotated[str, Meta(description="What the texts should answer.")]
    texts: Annotated[list[str], Meta(description="The texts.")]
    truncate: Annotated[Flag, Meta(description="Cut what is longer than the model reads (the default).")] = None
    truncation_direction: Annotated[str | None, Meta(description="Where it is cut: `Right` or `Left`.")] = None
    raw_scores: Annotated[Flag, Meta(description="The model's own numbers instead of [0, 1].")] = None
    return_text: Annotated[Flag, Meta(description="Return each text with its score.")] = None


Request = TypeVar("Request", bound=TeiRequest)


class TeiRank(Struct):
    """A text's position in the request and its score."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class TeiError(Struct):
    """An error and its kind, in that server's words."""

    error: str
    error_type: Literal["Validation", "Empty", "Overloaded", "Backend", "Unhealthy", "Unauthorized"]


def read(body: object) -> TeiRequest:
    """The request. A body without ``texts`` may call them ``documents``, as all others do. Raises ``WrongField``."""
    if isinstance(body, dict) and body.get("texts") is None and isinstance(body.get("documents"), list):
        body = body | {"texts": body["documents"]}
    return read_as(TeiRequest, body)


def read_as(kind: type[Request], body: object) -> Request:
    """The request, as one of its kinds. Raises ``WrongField``."""
    request: Request = common.converted(body, kind)
    if not request.texts:
        raise NoDocuments("texts is empty: send at least one", field="texts")
    common.side(request.truncation_direction)
    return request


def question(request: TeiRequest) -> Question:
    """Theirs → ours."""
    options = ScoreOptions(
        raw=bool(request.raw_scores),
        truncate=request.truncate is not False,
        truncation_side=common.side(request.truncation_direction),
    )
    return Question([Pair(request.query, text) for text in request.texts], options)


def answer(request: TeiRequest, scores: Scores) -> list[TeiRank]:
    """Ours → theirs."""
    texts = request.texts if request.return_text else None
    return [TeiRank(best.index, best.score, texts[best.index] if texts else UNSET) for best in rank(scores)]


_KINDS = {"overloaded": "Overloaded", "unavailable": "Unhealthy", "deadline_exceeded": "Overloaded"}


def error(error: RerankError) -> TeiError:
    """How a failure looks in this language."""
    if isinstance(error, Unauthorized):
        return TeiError(str(error), "Unauthorized")
    if isinstance(error, NoDocuments):
        return TeiError(str(error), "Empty")
    if isinstance(error, InvalidRequest):
        return TeiError(str(error), "Validation")
    return TeiError(str(error), _KINDS.get(error.code, "Backend"))  # type: ignore[arg-type]  # one of the kinds


def status(error: RerankError) -> int | None:
    """No texts and broken JSON are 400, all else that is wrong with a body 422; a failing model is 424."""
    if isinstance(error, MalformedBody):
        return 415 if error.kind == "content_type" else 400
    if isinstance(error, NoDocuments | InvalidHeader):
        return 400
    if isinstance(error, BodyTooLarge):
        return None
    return 422 if isinstance(error, InvalidRequest) else 424


TEI = Dialect(
    name="tei",
    summary="As text-embeddings-inference",
    read=read,
    question=question,
    answer=answer,
    error=error,
    status=status,
    request=TeiRequest,
    response=list[TeiRank],
    errors=(TeiError,),
    statuses={
        400: "There are no texts, or the body is not JSON.",
        415: "The body is said to be something else than JSON.",
        422: "The body is not as it should be.",
        424: "The model failed.",
    },
    example={"query": QUERY, "texts": ["Paris is a city.", "The giant panda is a bear of China."]},
    answered=[{"index": 1, "score": 0.9948}, {"index": 0, "score": 0.0003}],
)
