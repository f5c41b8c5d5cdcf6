"""NVIDIA's NIM, whose passages are objects (`/v1/ranking`)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from rerank_core.ranking import rank
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.dialects import examples, fields, replies
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.replies import DocumentsError
from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import NoDocuments, WrongField

_STRING = "expected object, got str"  # the commonest mistake: all other APIs take strings


class NimText(Struct):
    """A text."""

    text: str


class NimRequest(Struct):
    """A query and the passages to order."""

    query: NimText
    passages: list[NimText]
    model: Annotated[
        str | None, Meta(description="The name of the model: any name is accepted, unless RERANK_STRICT_MODEL is set.")
    ] = None
    truncate: Annotated[
        Literal["NONE", "END"] | None,
        Meta(description="`NONE` refuses a text that is longer than the model reads; `END` truncates it."),
    ] = None


class NimRanking(Struct):
    """A passage's position in the request and its logit."""

    index: int
    logit: float


class NimResponse(Struct):
    """The passages, best first."""

    rankings: list[NimRanking]


def read(body: object) -> NimRequest:
    """Read a body. Raises ``WrongField``."""
    try:
        request: NimRequest = fields.converted(body, NimRequest)
    except WrongField as error:
        if str(error).endswith(_STRING):
            raise WrongField(f"{error}: send an object with a text", field=error.field) from None
        raise
    if not request.passages:
        raise NoDocuments("passages is empty: send at least one", field="passages")
    return request


def score_request(request: NimRequest) -> ScoreRequest:
    """Translate the request."""
    pairs = [Pair(request.query.text, passage.text) for passage in request.passages]
    return ScoreRequest(pairs, ScoreOptions(raw=True, truncate=request.truncate != "NONE"), request.model)


def answer(_: NimRequest, scores: Scores, __: Reply) -> NimResponse:
    """Translate the scores."""
    return NimResponse([NimRanking(best.index, best.score) for best in rank(scores)])


NIM = Dialect(
    name="nim",
    summary="Order passages, as NVIDIA's NIM does",
    read=read,
    score_request=score_request,
    answer=answer,
    error=replies.documents_error,
    request=NimRequest,
    response=NimResponse,
    errors=(DocumentsError,),
    error_descriptions=examples.ERROR_DESCRIPTIONS,
    example={
        "model": "nvidia/llama-3.2-nv-rerankqa-1b-v2",
        "query": {"text": examples.QUERY},
        "passages": [{"text": text} for text in examples.DOCUMENTS],
        "truncate": "END",
    },
    answered={"rankings": [{"index": 1, "logit": 5.26}, {"index": 0, "logit": -8.19}]},
)
