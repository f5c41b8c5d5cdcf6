"""The native format of `/rerank` and `/rerank/batch`: one pair, or up to 100."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from msgspec import Meta, Struct
from rerank_core.errors import InvalidRequest, RerankError, TooManyDocuments, Unauthorized
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.body import AmbiguousBody, BodyTooLarge, InvalidHeader, MalformedBody
from rerank_server.dialects.dialect import Dialect
from rerank_server.question import Question

MAX_CHARS = 10_000
MAX_PAIRS = 100

Loc: TypeAlias = Sequence[str | int]

Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CHARS,
        pattern=r"\S",
        description=f"1 to {MAX_CHARS:,} characters, not only white space.",
    ),
]
Normalize = Annotated[bool, Meta(description="Scores in [0, 1] (the sigmoid of the logit) instead of logits.")]


class PairRequest(Struct):
    """One pair."""

    query: Text
    passage: Text
    normalize: Normalize = False


class PairResponse(Struct):
    """Its score. The lengths are in characters."""

    score: float
    normalized: bool
    query_length: int
    passage_length: int


class QueryPassage(Struct):
    """One pair of several."""

    query: Text
    passage: Text


class BatchRequest(Struct):
    """Several pairs, which may have different queries."""

    pairs: Annotated[list[QueryPassage], Meta(min_length=1, max_length=MAX_PAIRS)]
    normalize: Normalize = False


class BatchResponse(Struct):
    """Their scores, in the order of the pairs."""

    scores: list[float]
    normalized: bool
    pairs_count: int


class FieldError(Struct):
    """What is wrong with one field, in pydantic's words."""

    loc: list[str | int]
    msg: str
    type: str


class WrongFields(Struct):
    """Every field that is wrong."""

    detail: list[FieldError]


class Problem(Struct):
    """Any other error."""

    detail: str


class InvalidBody(InvalidRequest):
    """A body with wrong fields."""

    def __init__(self, fields: list[FieldError]) -> None:
        super().__init__("; ".join(f"{'.'.join(str(part) for part in field.loc)}: {field.msg}" for field in fields))
        self.fields = fields


def read_pair(body: object) -> PairRequest:
    """The body of ``POST /rerank``. Raises ``InvalidBody`` with every field that is wrong."""
    check = _Check()
    fields = check.mapping(body, ["body"])
    query, passage = check.pair(fields, ["body"])
    normalize = check.flag(fields, "normalize", ["body"])
    check.finish()
    return PairRequest(query, passage, normalize)


def pair_question(request: PairRequest) -> Question:
    """Theirs → ours."""
    return Question([Pair(request.query, request.passage)], ScoreOptions(raw=not request.normalize))


def pair_answer(request: PairRequest, scores: Scores) -> PairResponse:
    """Ours → theirs."""
    return PairResponse(scores.values[0], request.normalize, len(request.query), len(request.passage))


def read_batch(body: object) -> BatchRequest:
    """The body of ``POST /rerank/batch``. Raises ``InvalidBody`` with every field that is wrong."""
    check = _Check()
    fields = check.mapping(body, ["body"])
    pairs = []
    for index, item in enumerate(check.items(fields, "pairs", ["body"])):
        loc: Loc = ["body", "pairs", index]
        pairs.append(QueryPassage(*check.pair(check.mapping(item, loc), loc)))
    normalize = check.flag(fields, "normalize", ["body"])
    check.finish()
    return BatchRequest(pairs, normalize)


def batch_question(request: BatchRequest) -> Question:
    """Theirs → ours."""
    pairs = [Pair(pair.query, pair.passage) for pair in request.pairs]
    return Question(pairs, ScoreOptions(raw=not request.normalize))


def batch_answer(request: BatchRequest, scores: Scores) -> BatchResponse:
    """Ours → theirs."""
    return BatchResponse(list(scores.values), request.normalize, len(request.pairs))


# What is wrong with a request, but with no field of its body.
_NOT_OF_FIELDS = (AmbiguousBody, BodyTooLarge, InvalidHeader, TooManyDocuments, Unauthorized)


def error(error: RerankError) -> WrongFields | Problem:
    """How a failure looks in this language."""
    if not isinstance(error, InvalidRequest) or isinstance(error, _NOT_OF_FIELDS):
        return Problem(str(error))
    if isinstance(error, InvalidBody):
        return WrongFields(error.fields)
    kind = error.kind if isinstance(error, MalformedBody) else "value_error"
    return WrongFields([FieldError(loc=["body"], msg=str(error), type=kind)])


def status(error: RerankError) -> int | None:
    """The status where it is this language's own: whatever is wrong with a body is 422."""
    if isinstance(error, _NOT_OF_FIELDS):
        return None
    return 422 if isinstance(error, InvalidRequest) else None


_QUERY = "what is a panda?"
_PANDA = "The giant panda is a bear of China."
_STATUSES = {
    400: "The body speaks two languages at once, or a header says what cannot be.",
    422: "The body is not as it should be: every field that is wrong, and why.",
}

PAIR = Dialect(
    name="one pair",
    summary="Score one pair",
    read=read_pair,
    question=pair_question,
    answer=pair_answer,
    error=error,
    status=status,
    request=PairRequest,
    response=PairResponse,
    errors=(Problem, WrongFields),
    statuses=_STATUSES,
    example={"query": _QUERY, "passage": _PANDA, "normalize": True},
    answered={"score": 0.9948, "normalized": True, "query_length": len(_QUERY), "passage_length": len(_PANDA)},
)
BATCH = Dialect(
    name="pairs",
    summary="Score up to 100 pairs",
    read=read_batch,
    question=batch_question,
    answer=batch_answer,
    error=error,
    status=status,
    request=BatchRequest,
    response=BatchResponse,
    errors=(Problem, WrongFields),
    statuses=_STATUSES,
    example={"pairs": [{"query": _QUERY, "passage": text} for text in (_PANDA, "Paris is a city.")]},
    answered={"scores": [5.26, -8.19], "normalized": False, "pairs_count": 2},
)


class _Check:
    """Reads fields and notes every one that is wrong."""

    _TRUE: ClassVar = {"true", "1", "yes", "on", "t", "y"}
    _FALSE: ClassVar = {"false", "0", "no", "off", "f", "n"}

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def mapping(self, value: object, loc: Loc) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._note(loc, "Input should be an object", "model_attributes_type")
        return {}

    def items(self, fields: dict[str, Any], key: str, loc: Loc) -> list[Any]:
        found = self._field(fields, key, loc, lambda value: isinstance(value, list), "a list", "list_type")
        if found is None:
            return []
        if not found:
            self._note([*loc, key], "List should have at least 1 item", "too_short")
        if len(found) > MAX_PAIRS:
            self._note([*loc, key], f"List should have at most {MAX_PAIRS} items, not {len(found)}", "too_long")
            return []
        return list(found)

    def pair(self, fields: dict[str, Any], loc: Loc) -> tuple[str, str]:
        return self._text(fields, "query", loc), self._text(fields, "passage", loc)

    def finish(self) -> None:
        if self._errors:
            raise InvalidBody(self._errors)

    def _text(self, fields: dict[str, Any], key: str, loc: Loc) -> str:
        found = self._field(fields, key, loc, lambda value: isinstance(value, str), "a string", "string_type")
        if found is None:
            return ""
        text = str(found)
        if not text:
            self._note([*loc, key], "String should have at least 1 character", "string_too_short")
        elif len(text) > MAX_CHARS:
            self._note(
                [*loc, key],
                f"String should have at most {MAX_CHARS} characters, not {len(text)}",
                "string_too_long",
            )
        elif not text.strip():
            self._note([*loc, key], "String should have more than white space", "value_error")
        return text

    def flag(self, fields: dict[str, Any], key: str, loc: Loc) -> bool:
        value = fields.get(key, False)
        word = str(value).lower()
        if isinstance(value, bool | int | str) and word in self._TRUE | self._FALSE:
            return word in self._TRUE
        self._note([*loc, key], "Input should be true or false", "bool_parsing")
        return False

    def _field(
        self,
        fields: dict[str, Any],
        key: str,
        loc: Loc,
        fits: Callable[[object], bool],
        wanted: str,
        kind: str,
    ) -> Any:
        if key not in fields:
            self._note([*loc, key], "Field required", "missing")
            return None
        if not fits(fields[key]):
            self._note([*loc, key], f"Input should be {wanted}", kind)
            return None
        return fields[key]

    def _note(self, loc: Loc, message: str, kind: str) -> None:
        if loc[-1] != "body" and any(error.loc == list(loc[: len(error.loc)]) for error in self._errors):
            return  # its parent is wrong already
        self._errors.append(FieldError(loc=list(loc), msg=message, type=kind))
