"""A query and texts: the request of text-embeddings-inference, which other servers take too."""

from __future__ import annotations

from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType
from rerank_core.ranking import rank
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.dialects import fields
from rerank_server.dialects.fields import Flag
from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import NoDocuments


class TeiRequest(Struct):
    """A query and the texts to order. Unknown fields are ignored; all texts are returned."""

    query: Annotated[str, Meta(description="The query that the texts are scored for.")]
    texts: Annotated[list[str], Meta(description="The texts to score.")]
    truncate: Annotated[
        Flag,
        Meta(description="Whether a text that is longer than the model reads is truncated (the default) or refused."),
    ] = None
    truncation_direction: Annotated[str | None, Meta(description="The end that is cut off: `Right` or `Left`.")] = None
    raw_scores: Annotated[Flag, Meta(description="Return raw scores (logits) instead of scores in [0, 1].")] = None
    return_text: Annotated[Flag, Meta(description="Return each text with its score.")] = None


Request = TypeVar("Request", bound=TeiRequest)


class TeiRank(Struct):
    """A text's position in the request and its score."""

    index: int
    score: float
    text: str | UnsetType = UNSET


def read(body: object, kind: type[Request]) -> Request:
    """Read a body as one of the kinds of such a request. Raises ``WrongField``."""
    request: Request = fields.converted(body, kind)
    if not request.texts:
        raise NoDocuments("texts is empty: send at least one", field="texts")
    fields.side(request.truncation_direction)
    return request


def score_request(request: TeiRequest) -> ScoreRequest:
    """Translate the request."""
    options = ScoreOptions(
        raw=bool(request.raw_scores),
        truncate=request.truncate is not False,
        truncation_side=fields.side(request.truncation_direction),
    )
    return ScoreRequest([Pair(request.query, text) for text in request.texts], options)


def ranks(request: TeiRequest, scores: Scores) -> list[TeiRank]:
    """The texts, best first."""
    texts = request.texts if request.return_text else None
    return [TeiRank(best.index, best.score, texts[best.index] if texts else UNSET) for best in rank(scores)]
