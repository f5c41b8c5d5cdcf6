"""The request that most dialects have in common: a query, documents and options, under all names of each field."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from rerank_core.ranking import rank
from rerank_core.types import (
    ChunkScore,
    Highlight,
    LongDocuments,
    Pair,
    RankedDocument,
    ScoreOptions,
    Scores,
    Truncation,
    TruncationSide,
)

from rerank_server.dialects.request import ScoreRequest
from rerank_server.errors import NoDocuments, WrongField

Flag: TypeAlias = bool | None

_MOST_RANK_FIELDS = 100
_INSTRUCTIONS = ("instruction", "instruct")
# Of names that are not read, an error repeats at most three, and only what looks like a name: never a caller's text.
_MOST_NAMES = 3
_NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)
_SIDES: dict[str, TruncationSide] = {"right": "right", "Right": "right", "left": "left", "Left": "left"}


class ScoringFields(Struct, kw_only=True):
    """The fields that may change a score. Some fields have several names, from the APIs of several vendors."""

    model: Annotated[
        str | None, Meta(description="The name of the model: any name is accepted, unless RERANK_STRICT_MODEL is set.")
    ] = None
    raw_scores: Annotated[Flag, Meta(description="Return raw scores (logits) instead of scores in [0, 1].")] = None
    normalize: Annotated[Flag, Meta(description="The opposite of `raw_scores`.")] = None
    use_activation: Annotated[Flag, Meta(description="The opposite of `raw_scores`.")] = None
    truncate: Annotated[
        Flag,
        Meta(description="Whether a text that is longer than the model reads is truncated (the default) or refused."),
    ] = None
    truncation: Annotated[Flag, Meta(description="Another name of `truncate`.")] = None
    truncate_prompt_tokens: Annotated[
        int | None,
        Meta(
            description="The maximum number of tokens of a pair, special tokens included. -1 is the length of the "
            "model, and a larger number is refused; 0 is no maximum."
        ),
    ] = None
    truncation_strategy: Annotated[
        Truncation | None, Meta(description="Which text is truncated; the default is RERANK_TRUNCATION.")
    ] = None
    truncation_side: Annotated[
        str | None,
        Meta(description="The end that is cut off: `right` or `left`; the default is that of the checkpoint."),
    ] = None
    truncation_direction: Annotated[str | None, Meta(description="Another name of `truncation_side`.")] = None
    max_tokens_per_query: Annotated[int | None, Meta(description="The maximum number of tokens of the query.")] = None
    max_tokens_per_doc: Annotated[int | None, Meta(description="The maximum number of tokens of each document.")] = None
    long_documents: Annotated[
        LongDocuments | None,
        Meta(description="`chunk` scores all windows of a long document; the default is RERANK_LONG_DOCUMENTS."),
    ] = None
    max_chunks_per_doc: Annotated[
        int | None, Meta(description="Score a long document in at most this many windows.")
    ] = None
    overlap_tokens: Annotated[
        int | None,
        Meta(description="Score a long document in windows that overlap by this many tokens, at most by half."),
    ] = None
    chunk_score: Annotated[
        ChunkScore | None,
        Meta(description="The score of a long document, from the scores of its windows; the default is `max`."),
    ] = None
    best_chunks: Annotated[
        int | None, Meta(description="The number of windows that `mean` takes the mean of; the default is 3.")
    ] = None
    instruction: Annotated[
        str | None,
        Meta(
            description="What the query asks for, in words, for a model that takes an instruction (`GET /info`); the "
            "default is that of the model. Other models refuse it."
        ),
    ] = None
    instruct: Annotated[str | None, Meta(description="Another name of `instruction`.")] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="An object whose `instruction` is another name of `instruction`.")
    ] = None


class RelevantSpans(Struct):
    """Cohere's request for spans. A document has at most one."""

    mode: Annotated[Literal["enabled", "disabled"], Meta(description="`enabled` is the default.")] = "enabled"
    threshold: Annotated[
        float, Meta(description="The least score of a window that is returned; the default is 0.1.")
    ] = 0.1


class RerankRequest(ScoringFields, kw_only=True):
    """A query and the documents to order. A field with a null counts as missing; unknown fields are ignored."""

    query: Annotated[
        str | dict[str, Any],
        Meta(description="The query that the documents are scored for. It may also be an object, as a document may."),
    ]
    documents: Annotated[
        list[str | dict[str, Any]] | str | dict[str, Any],
        Meta(
            description="The documents: strings, or objects with a `text`, with the fields of `rank_fields`, or with "
            "a `content` of text parts."
        ),
    ]
    top_n: Annotated[
        int | None, Meta(description="The number of documents to return; without it, and for 0, all of them.")
    ] = None
    top_k: Annotated[int | None, Meta(description="Another name of `top_n`.")] = None
    return_documents: Annotated[Flag, Meta(description="Return each document's text with its score.")] = None
    return_text: Annotated[Flag, Meta(description="Another name of `return_documents`.")] = None
    rank_fields: Annotated[
        list[str] | None, Meta(description="The fields of a document that is an object which are read, in this order.")
    ] = None
    threshold: Annotated[
        float | None, Meta(description="Return only documents with at least this score, on the scale of the response.")
    ] = None
    return_raw_scores: Annotated[
        Flag, Meta(description="Return the raw score (logit) of each document too, whatever the scale of the scores.")
    ] = None
    relevant_spans: Annotated[
        RelevantSpans | None, Meta(description="Score long documents in windows, and return the best window of each.")
    ] = None
    highlight: Annotated[
        Highlight | None,
        Meta(
            description="`sentences` also returns the best sentences of each document that is returned, best first. "
            "They are scored one by one, which more than doubles the work for a document, and changes no score. "
            "Refused below `/infinity`, `/vllm` and `/xinference`."
        ),
    ] = None
    highlight_top: Annotated[
        int | None, Meta(description="Highlight this many of the best documents only; the default is `top_n`.")
    ] = None
    highlight_threshold: Annotated[
        float | None,
        Meta(description="Highlight only documents with at least this score; the default is `threshold`."),
    ] = None


class RelevantSpan(Struct):
    """Characters ``start`` to ``end`` (not included) of a document's text, as Unicode counts them, and their score."""

    start: int
    end: int
    score: float


def read(body: object) -> RerankRequest:
    """Read a body. Raises ``WrongField`` with the name of the field."""
    request: RerankRequest = converted(body, RerankRequest)
    if not request.documents and request.documents != "":
        raise NoDocuments("documents is empty: send at least one", field="documents")
    if request.rank_fields and len(request.rank_fields) > _MOST_RANK_FIELDS:
        raise WrongField(
            f"rank_fields has {len(request.rank_fields)} names: send at most {_MOST_RANK_FIELDS}", field="rank_fields"
        )
    top_n(request)  # before anything is computed
    return request


def score_request(request: RerankRequest, *, raw_by_default: bool = False) -> ScoreRequest:
    """Translate the request. Raises ``WrongField``."""
    query = text_of(request.query, "query")
    pairs = [Pair(query, text) for text in texts(request)]
    asked = options(request, raw_by_default=raw_by_default)
    if asked.long_documents is None and request.relevant_spans and asks_for_spans(request):
        asked = replace(asked, long_documents="chunk")
    return ScoreRequest(pairs, _highlighting(request, asked), request.model)


def _highlighting(request: RerankRequest, asked: ScoreOptions) -> ScoreOptions:
    most, least = _at_least(1, "highlight_top", request.highlight_top), request.highlight_threshold
    if request.highlight is not None:
        asked = replace(asked, highlight=request.highlight, highlight_top=most, highlight_threshold=least)
        return asked.highlighting(top_n(request), request.threshold)
    for name, value in (("highlight_top", most), ("highlight_threshold", least)):
        if value is not None:
            raise WrongField(f"{name} is sent without highlight: send both, or leave it out", field=name)
    return asked


def texts(request: RerankRequest) -> list[str]:
    """The text of each document. Raises ``WrongField``."""
    documents = request.documents if isinstance(request.documents, list) else [request.documents]
    return [text_of(document, f"documents[{index}]", request.rank_fields) for index, document in enumerate(documents)]


def options(request: ScoringFields, *, raw_by_default: bool = False) -> ScoreOptions:
    """The options of scoring. Raises ``WrongField``."""
    raw = _one_of(request, {"raw_scores": True, "normalize": False, "use_activation": False})
    truncate = _one_of(request, {"truncate": True, "truncation": True})
    return ScoreOptions(
        raw=raw_by_default if raw is None else raw,
        truncate=truncate is not False,
        truncation=request.truncation_strategy,
        truncation_side=side(request.truncation_side or request.truncation_direction),
        max_length=_max_length(request.truncate_prompt_tokens),
        max_query_tokens=_cap("max_tokens_per_query", request.max_tokens_per_query),
        max_document_tokens=_cap("max_tokens_per_doc", request.max_tokens_per_doc),
        long_documents=request.long_documents,
        overlap_tokens=_at_least(0, "overlap_tokens", request.overlap_tokens),
        max_chunks=_cap("max_chunks_per_doc", request.max_chunks_per_doc),
        chunk_score=request.chunk_score or "max",
        best_chunks=_at_least(1, "best_chunks", request.best_chunks) or 3,
        instruction=_instruction(request),
    )


def ranked(request: RerankRequest, scores: Scores) -> list[RankedDocument]:
    """The best documents, best first."""
    return rank(scores, top_n=top_n(request), threshold=request.threshold)


def asks_for_spans(request: RerankRequest) -> bool:
    """Whether the best window of each document is to be returned."""
    spans = request.relevant_spans
    return spans.mode == "enabled" if spans else request.long_documents == "chunk" or request.highlight is not None


def spans_of(request: RerankRequest, best: RankedDocument) -> list[RelevantSpan] | UnsetType:
    """The best window of a document, where windows were scored."""
    if best.span is None:
        return UNSET
    least = request.relevant_spans.threshold if request.relevant_spans else -math.inf
    return [RelevantSpan(best.span.start, best.span.end, best.score)] if best.score >= least else []


def sentences_of(best: RankedDocument) -> list[RelevantSpan] | UnsetType:
    """The best sentences of a document, where they were scored."""
    return UNSET if best.sentences is None else [RelevantSpan(*sentence) for sentence in best.sentences]


def side(asked: str | None) -> TruncationSide | None:
    """The end of a text that is cut off, None for that of the checkpoint. Raises ``WrongField``."""
    if asked is None:
        return None
    if asked not in _SIDES:
        raise WrongField("truncation_side: expected one of right, left", field="truncation_side")
    return _SIDES[asked]


def top_n(request: RerankRequest) -> int | None:
    """The number of documents to return, None for all. Raises ``WrongField``."""
    best, same = count("top_n", request.top_n), count("top_k", request.top_k)
    if best and same and best != same:
        raise WrongField(f"top_n is {best} and top_k {same}: send only one of them", field="top_n")
    return best or same


def count(name: str, value: int | None) -> int | None:
    """The number of documents to return, None for all, from the field ``name``. Raises ``WrongField``."""
    if value is not None and value < 0:
        raise WrongField(f"{name} is {value}: use 1 or more, or leave it out for all", field=name)
    return value or None


def returns_documents(request: RerankRequest) -> bool:
    """Whether the texts of documents are to be returned."""
    return bool(_one_of(request, {"return_documents": True, "return_text": True}))


def text_of(value: str | dict[str, Any], path: str, fields: list[str] | None = None) -> str:
    """The text of a string, or of an object: of ``fields``, its ``content`` or its ``text``. Raises ``WrongField``."""
    if isinstance(value, str):
        return value
    if fields:
        found = {name: value[name] for name in fields if value.get(name) is not None}
        if not found:
            raise WrongField(f"{path} has none of rank_fields ({', '.join(fields)})", field=path)
        written = {name: item if isinstance(item, str) else _json(item) for name, item in found.items()}
        lines = written.values() if len(fields) == 1 else [f"{name}: {text}" for name, text in written.items()]
        return "\n".join(lines)
    if isinstance(value.get("content"), list):
        return _parts(value["content"], f"{path}.content")
    if "text" not in value:
        raise WrongField(f"{path}.text is missing: send text, or name fields in rank_fields", field=f"{path}.text")
    if not isinstance(value["text"], str):
        raise WrongField(f"{path}.text: expected str", field=f"{path}.text")
    return value["text"]


def instructions_in(given: Mapping[str, Any]) -> dict[tuple[str, ...], object]:
    """The values of the fields that an instruction may be in, by their paths; a null counts as missing."""
    inner = given.get("chat_template_kwargs")
    found: dict[tuple[str, ...], object] = {(name,): given.get(name) for name in _INSTRUCTIONS}
    if isinstance(inner, dict):
        found |= {("chat_template_kwargs", name): inner.get(name) for name in _INSTRUCTIONS}
    return {path: value for path, value in found.items() if value is not None}


def converted(body: object, request: type[Any]) -> Any:
    """Convert a body to a Struct, without the fields that are null. Raises ``WrongField``."""
    if not isinstance(body, dict):
        raise WrongField("the body is not as it should be: expected object", field=None)
    given = {key: value for key, value in body.items() if value is not None}
    try:
        return msgspec.convert(given, request, strict=False)
    except msgspec.ValidationError as error:
        unread = [name for name in given if name not in request.__struct_encode_fields__]
        raise _wrong_field(str(error), unread) from None


def _one_of(request: ScoringFields, names: Mapping[str, bool]) -> bool | None:
    """The value of a flag that has several names, None where none is set. A name with False means the opposite.

    Raises ``WrongField`` where they contradict each other.
    """
    said = {name: getattr(request, name) == way for name, way in names.items() if getattr(request, name) is not None}
    if len(set(said.values())) > 1:
        raise WrongField(f"{' and '.join(said)} contradict each other: send only one of them", field=next(iter(said)))
    return next(iter(said.values()), None)


def _instruction(request: ScoringFields) -> str | None:
    """The instruction, which has several names; None where it has none of them. Raises ``WrongField``."""
    texts: dict[str, str] = {}
    for path, text in instructions_in(msgspec.structs.asdict(request)).items():
        name = ".".join(path)
        if not isinstance(text, str):
            raise WrongField(f"{name}: expected str", field=name)
        texts[name] = text
    if len(set(texts.values())) > 1:
        raise WrongField(f"{' and '.join(texts)} differ: send only one of them", field=next(iter(texts)))
    return next(iter(texts.values()), None)


def _at_least(least: int, name: str, value: int | None) -> int | None:
    if value is not None and value < least:
        raise WrongField(f"{name} is {value}: use {least} or more, or leave it out", field=name)
    return value


def _max_length(asked: int | None) -> int | None:
    """The maximum length of a pair in tokens, None for that of the model. Raises ``WrongField``."""
    return None if asked == -1 else _cap("truncate_prompt_tokens", asked)


def _cap(name: str, value: int | None) -> int | None:
    """A maximum in tokens; 0 is no maximum, as in vLLM."""
    if value is not None and value < 0:
        raise WrongField(f"{name} is {value}: use 1 or more, or leave it out for no cap", field=name)
    return value or None


def _parts(parts: list[Any], path: str) -> str:
    """The text of the parts of a chat message. Raises ``WrongField`` where there is none, or one is not text."""
    if not parts:
        raise WrongField(f"{path} is empty: send at least one part", field=path)
    found = []
    for index, part in enumerate(parts):
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise WrongField(f"{path}[{index}] is not text: the model here reads text only", field=path)
        found.append(text)
    return "\n".join(found)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_CHOICES = {
    "truncation_strategy": get_args(Truncation),
    "truncate": ("NONE", "END"),
    "long_documents": get_args(LongDocuments),
    "chunk_score": get_args(ChunkScore),
    "highlight": get_args(Highlight),
    "relevant_spans.mode": ("enabled", "disabled"),
}


def _wrong_field(message: str, unread: Sequence[str]) -> WrongField:
    """Translate a message of msgspec, such as ``Expected `str`, got `int` - at `$.query` ``: the field comes first.

    ``unread``: the names in the body that are no fields; one may be the wrong name of a field that is missing.
    """
    if missing := re.search(r"missing required field `(\w+)`(?: - at `\$\.?(.*)`)?$", message):
        path = ".".join(part for part in (missing[2], missing[1]) if part)
        return WrongField(f"{path} is missing{_not_read(unread) if path == missing[1] else ''}", field=path)
    reason, _, path = message.partition(" - at `$")
    path, reason = path.strip("`."), reason.replace("`", "").replace(" | null", "")
    choices = _CHOICES.get(path, ())
    expected = f"Expected {'one of ' * (len(choices) > 1)}{', '.join(choices)}"
    if reason.startswith("Invalid enum value"):  # it repeats what was sent, and does not say what may be
        reason = expected
    elif choices:
        reason = reason.replace("Expected str", expected)
    return WrongField(f"{path}: {reason[0].lower()}{reason[1:]}", field=path)


def _not_read(names: Sequence[str]) -> str:
    shown = [name for name in names if _NAME.fullmatch(name)][:_MOST_NAMES]
    if not shown:
        return ""
    return f": the body has {', '.join(shown)}, which {'is' if len(shown) == 1 else 'are'} not read here"
