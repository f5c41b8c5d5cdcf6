"""Our own API, at `/rerank` and `/rerank/batch`: one pair, or up to 100."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from msgspec import Meta, Struct
from rerank_core.errors import RerankError
from rerank_core.types import Pair, ScoreOptions, Scores

from rerank_server.dialects import examples
from rerank_server.dialects.base import Dialect, Reply
from rerank_server.dialects.fields import instructions_in
from rerank_server.dialects.replies import FieldError, WrongFields
from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import InvalidField, InvalidFields, by_code, field_of, status_of

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
Normalize = Annotated[
    bool, Meta(description="Scores in [0, 1] (the sigmoid of the logit) instead of logits, which are the default.")
]
Instruction = Annotated[
    Annotated[str, Meta(max_length=MAX_CHARS)] | None,
    Meta(description="What the query asks for, in words, for a model that takes an instruction; others refuse it."),
]
Instruct = Annotated[
    Annotated[str, Meta(max_length=MAX_CHARS)] | None, Meta(description="Another name of `instruction`.")
]
ChatTemplateKwargs = Annotated[
    dict[str, Any] | None, Meta(description="An object whose `instruction` is another name of `instruction`.")
]


class PairRequest(Struct):
    """One pair."""

    query: Text
    passage: Text
    normalize: Normalize = False
    instruction: Instruction = None
    instruct: Instruct = None
    chat_template_kwargs: ChatTemplateKwargs = None


class PairResponse(Struct):
    """The score of the pair. The lengths are in characters."""

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

    pairs: Annotated[
        list[QueryPassage],
        Meta(min_length=1, max_length=MAX_PAIRS, description=f"1 to {MAX_PAIRS} pairs."),
    ]
    normalize: Normalize = False
    instruction: Instruction = None
    instruct: Instruct = None
    chat_template_kwargs: ChatTemplateKwargs = None


class BatchResponse(Struct):
    """The scores, in the order of the pairs."""

    scores: list[float]
    normalized: bool
    pairs_count: int


class Problem(Struct):
    """An error that is not one of fields."""

    detail: str


# Any error of the body is 422, except those that have a status of their own.
STATUSES = {"invalid_request": 422}
# The kind of an error of the whole body, in pydantic's words.
_KINDS = {"malformed_body": "json_invalid", "empty_body": "missing", "wrong_content_type": "content_type"}


def read_pair(body: object) -> PairRequest:
    """Read the body of ``POST /rerank``; ``instruction`` has what any of its names has.

    Raises ``InvalidFields`` with every field that is wrong.
    """
    check = _Check()
    fields = check.mapping(body, ["body"])
    query, passage = check.pair(fields, ["body"])
    normalize = check.flag(fields, "normalize", ["body"])
    instruction = check.instruction(fields, ["body"])
    check.finish()
    return PairRequest(query, passage, normalize, instruction)


def pair_score_request(request: PairRequest) -> ScoreRequest:
    """Translate the request."""
    return ScoreRequest([Pair(request.query, request.passage)], _options(request))


def pair_answer(request: PairRequest, scores: Scores, _: Reply) -> PairResponse:
    """Translate the score."""
    return PairResponse(scores.values[0], request.normalize, len(request.query), len(request.passage))


def read_batch(body: object) -> BatchRequest:
    """Read the body of ``POST /rerank/batch``; ``instruction`` has what any of its names has.

    Raises ``InvalidFields`` with every field that is wrong.
    """
    check = _Check()
    fields = check.mapping(body, ["body"])
    pairs = []
    for index, item in enumerate(check.items(fields, "pairs", ["body"])):
        loc: Loc = ["body", "pairs", index]
        own = check.mapping(item, loc)
        check.no_instruction(own, loc)
        pairs.append(QueryPassage(*check.pair(own, loc)))
    normalize = check.flag(fields, "normalize", ["body"])
    instruction = check.instruction(fields, ["body"])
    check.finish()
    return BatchRequest(pairs, normalize, instruction)


def batch_score_request(request: BatchRequest) -> ScoreRequest:
    """Translate the request."""
    pairs = [Pair(pair.query, pair.passage) for pair in request.pairs]
    return ScoreRequest(pairs, _options(request))


def batch_answer(request: BatchRequest, scores: Scores, _: Reply) -> BatchResponse:
    """Translate the scores."""
    return BatchResponse(list(scores.values), request.normalize, len(request.pairs))


def _options(request: PairRequest | BatchRequest) -> ScoreOptions:
    return ScoreOptions(raw=not request.normalize, instruction=request.instruction)


def error(error: RerankError, _: Reply) -> WrongFields | Problem:
    """Translate an error: where it is of the body, to a list of fields."""
    if status_of(error, STATUSES) != 422:
        return Problem(str(error))
    if isinstance(error, InvalidFields):
        return WrongFields([FieldError(list(field.path), field.reason, field.kind) for field in error.fields])
    field = field_of(error)
    loc: list[str | int] = ["body", field] if field else ["body"]
    return WrongFields([FieldError(loc=loc, msg=str(error), type=by_code(error, _KINDS, "value_error"))])


_ERROR_DESCRIPTIONS = {
    400: "The body has fields of two dialects, or a header has an impossible value.",
    422: "The body is invalid: each wrong field, with a reason.",
}

PAIR = Dialect(
    name="one pair",
    summary="Score one pair",
    read=read_pair,
    score_request=pair_score_request,
    answer=pair_answer,
    error=error,
    statuses=STATUSES,
    request=PairRequest,
    response=PairResponse,
    errors=(Problem, WrongFields),
    error_descriptions=_ERROR_DESCRIPTIONS,
    example={"query": examples.QUERY, "passage": examples.PANDA, "normalize": True},
    answered={
        "score": 0.9948,
        "normalized": True,
        "query_length": len(examples.QUERY),
        "passage_length": len(examples.PANDA),
    },
)
BATCH = Dialect(
    name="pairs",
    summary="Score up to 100 pairs",
    read=read_batch,
    score_request=batch_score_request,
    answer=batch_answer,
    error=error,
    statuses=STATUSES,
    request=BatchRequest,
    response=BatchResponse,
    errors=(Problem, WrongFields),
    error_descriptions=_ERROR_DESCRIPTIONS,
    example={"pairs": [{"query": examples.QUERY, "passage": text} for text in (examples.PANDA, examples.PARIS)]},
    answered={"scores": [5.26, -8.19], "normalized": False, "pairs_count": 2},
)


class _Check:
    """Reads fields and collects all errors, in the words of pydantic."""

    _TRUE: ClassVar = {"true", "1", "yes", "on", "t", "y"}
    _FALSE: ClassVar = {"false", "0", "no", "off", "f", "n"}

    def __init__(self) -> None:
        self._errors: list[InvalidField] = []

    def mapping(self, value: object, loc: Loc) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._add(loc, "Input should be an object", "model_attributes_type")
        return {}

    def items(self, fields: dict[str, Any], key: str, loc: Loc) -> list[Any]:
        found = self._field(fields, key, loc, lambda value: isinstance(value, list), "a list", "list_type")
        if found is None:
            return []
        if not found:
            self._add([*loc, key], "List should have at least 1 item", "too_short")
        if len(found) > MAX_PAIRS:
            self._add([*loc, key], f"List should have at most {MAX_PAIRS} items, not {len(found)}", "too_long")
            return []
        return list(found)

    def pair(self, fields: dict[str, Any], loc: Loc) -> tuple[str, str]:
        return self._text(fields, "query", loc), self._text(fields, "passage", loc)

    def finish(self) -> None:
        if self._errors:
            raise InvalidFields(self._errors)

    def _text(self, fields: dict[str, Any], key: str, loc: Loc, *, may_be_blank: bool = False) -> str:
        found = self._field(fields, key, loc, lambda value: isinstance(value, str), "a string", "string_type")
        if found is None:
            return ""
        text = str(found)
        if not text and not may_be_blank:
            self._add([*loc, key], "String should have at least 1 character", "string_too_short")
        elif len(text) > MAX_CHARS:
            self._add(
                [*loc, key],
                f"String should have at most {MAX_CHARS} characters, not {len(text)}",
                "string_too_long",
            )
        elif not text.strip() and not may_be_blank:
            self._add([*loc, key], "String should have more than white space", "value_error")
        return text

    def instruction(self, fields: dict[str, Any], loc: Loc) -> str | None:
        """The instruction, which has several names."""
        inner = fields.get("chat_template_kwargs")
        if inner is not None and not isinstance(inner, dict):
            self._add([*loc, "chat_template_kwargs"], "Input should be an object", "dict_type")
        found = {}
        for path in instructions_in(fields):
            parent = fields if len(path) == 1 else fields[path[0]]
            found[path] = self._text(parent, path[-1], [*loc, *path[:-1]], may_be_blank=True)
        if len(set(found.values())) > 1:
            names = " and ".join(".".join(path) for path in found)
            self._add([*loc, *next(iter(found))], f"{names} differ: send only one of them", "value_error")
        return next(iter(found.values()), None)

    def no_instruction(self, pair: dict[str, Any], loc: Loc) -> None:
        for path in instructions_in(pair):
            self._add(
                [*loc, *path],
                "A pair has no instruction of its own: send one beside pairs, for all of them",
                "extra_forbidden",
            )

    def flag(self, fields: dict[str, Any], key: str, loc: Loc) -> bool:
        value = fields.get(key, False)
        word = str(value).lower()
        if isinstance(value, bool | int | str) and word in self._TRUE | self._FALSE:
            return word in self._TRUE
        self._add([*loc, key], "Input should be true or false", "bool_parsing")
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
            self._add([*loc, key], "Field required", "missing")
            return None
        if not fits(fields[key]):
            self._add([*loc, key], f"Input should be {wanted}", kind)
            return None
        return fields[key]

    def _add(self, loc: Loc, message: str, kind: str) -> None:
        if loc[-1] != "body" and any(error.path == tuple(loc[: len(error.path)]) for error in self._errors):
            return  # its parent is wrong already
        self._errors.append(InvalidField(tuple(loc), message, kind))
