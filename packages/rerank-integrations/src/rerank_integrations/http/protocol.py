"""The protocol of rerank-server's own API, from the client's side. Pure: writes requests and reads answers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rerank_core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    Overloaded,
    RerankError,
    Unauthorized,
    Unavailable,
    error_class,
)
from rerank_core.pairs import joined
from rerank_core.ranking import rank
from rerank_core.types import ScoreOptions, Scores, Sentence, Span, Usage

# What each option is called on the wire.
_NAMES = {
    "raw": "raw_scores",
    "truncate": "truncate",
    "truncation": "truncation_strategy",
    "truncation_side": "truncation_side",
    "max_length": "truncate_prompt_tokens",
    "max_query_tokens": "max_tokens_per_query",
    "max_document_tokens": "max_tokens_per_doc",
    "long_documents": "long_documents",
    "overlap_tokens": "overlap_tokens",
    "max_chunks": "max_chunks_per_doc",
    "chunk_score": "chunk_score",
    "best_chunks": "best_chunks",
    "highlight": "highlight",
    "highlight_top": "highlight_top",
    "highlight_threshold": "highlight_threshold",
    "instruction": "instruction",
}

# Codes of rerank-server that are not in core's tree of errors.
_SERVER_CODES: dict[str, type[RerankError]] = {"body_too_large": InvalidRequest}
# For an error that does not say its code: from a proxy on the way, or another server.
_BY_STATUS: dict[int, type[RerankError]] = {
    401: Unauthorized,
    403: Unauthorized,
    408: DeadlineExceeded,
    429: Overloaded,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}
_HINTS = {
    301: "it has moved: use its new address",
    302: "it has moved: use its new address",
    307: "it has moved: use its new address",
    308: "it has moved: use its new address",
    401: "check the API key",
    403: "check the API key",
    404: "is this the address of a rerank-server, without a path such as /v1?",
    413: "a proxy on the way takes less than the server itself: raise its limit, or send less at once",
}
_COMPLAINTS = ("message", "detail", "error")
_LIMITS = ("max_client_batch_size", "max_body_bytes")
_EXCERPT = 200  # characters
_LONGEST_MESSAGE = 1000
# More than any answer of a rerank-server takes.
MAX_INFO_BYTES = 1_000_000
_BYTES_OF_SCORES = 1_000_000
_BYTES_OF_SCORE = 2_000


class NotARerankServer(InvalidRequest):
    """A request was refused by what is no rerank-server: the address leads elsewhere, or a proxy is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server's description of itself: its model, and how much it takes in one request.

    ``max_text_chars``, where known, is the length from which it may cut a text, or refuse one that may not be cut.
    ``truncation_side`` is where the model's texts are cut, unless a request says otherwise. Where the model is not
    ``independent``, a document's score depends on the others of its list, which then is one request.
    """

    model: str
    max_documents: int
    max_body_bytes: int
    max_text_chars: int | None = None
    truncation_side: str = "right"
    independent: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """A query and its documents, in as many requests as it takes.

    ``cuts`` are the documents that were cut here, by position: how many characters are missing at their beginning.
    """

    query: str
    documents: Sequence[str]
    options: ScoreOptions
    cuts: Mapping[int, int] = field(default_factory=dict)

    def fitted(self, info: ServerInfo) -> Question:
        """Cut the documents that no request could hold, where truncation is allowed: nothing reads so much anyway."""
        room = info.max_body_bytes - len(self.body(range(0)))
        side = self.options.truncation_side or info.truncation_side
        return self._cut(lambda document: _fitting(document, room, side), side)

    def shortened(self, info: ServerInfo) -> Question:
        """Cut the texts that have more characters than the server takes, where truncation is allowed."""
        limit = info.max_text_chars
        if limit is None:
            return self
        side = self.options.truncation_side or info.truncation_side
        query = _cut_to(self.query, limit, side)
        shorter = self._cut(lambda document: _cut_to(document, limit, side), side)
        if query == self.query or not self.options.truncate:
            return shorter
        return replace(shorter, query=query)

    def _cut(self, cut: Callable[[str], str], side: str) -> Question:
        if not self.options.truncate:
            return self
        kept = [cut(document) for document in self.documents]
        cuts = dict(self.cuts)
        for index, (whole, rest) in enumerate(zip(self.documents, kept, strict=True)):
            if len(rest) < len(whole):
                missing = len(whole) - len(rest) if side == "left" else 0
                cuts[index] = cuts.get(index, 0) + missing
        return self if kept == self.documents else replace(self, documents=kept, cuts=cuts)

    def parts(self, info: ServerInfo) -> list[range]:
        """Divide the documents' positions, in order, into as few requests as the server's limits allow.

        Raises ``InvalidRequest`` for a document that is too large for any request, and for a list that is too large
        where it has to be one request.
        """
        room = info.max_body_bytes - len(self.body(range(0)))
        parts, start, filled = [], 0, 0
        for index, document in enumerate(self.documents):
            size = len(_json(document))
            if size > room:
                raise InvalidRequest(
                    f"document {index} and the query make a request of {info.max_body_bytes - room + size} bytes, "
                    f"the server takes {info.max_body_bytes}: shorten them"
                )
            if index - start == info.max_documents or filled + size > room:
                parts.append(range(start, index))
                start, filled = index, 0
            filled += size + 1  # the comma before the next
        if self.documents:
            parts.append(range(start, len(self.documents)))
        if len(parts) > 1 and not info.independent:
            raise InvalidRequest(
                f"{info.model} scores a list as a whole, and {len(self.documents)} documents are more than the server "
                f"takes at once ({info.max_documents} documents, {info.max_body_bytes} bytes): send fewer, or shorter"
            )
        return parts

    def body(self, part: range) -> bytes:
        """Write the body of one part's request: of the options, those that are not the default."""
        default, options = ScoreOptions(), self.options
        if options.highlight is None:
            # Without effect, and the server refuses them alone.
            options = replace(options, highlight_top=None, highlight_threshold=None)
        fields = {
            name: getattr(options, option)
            for option, name in _NAMES.items()
            if getattr(options, option) != getattr(default, option)
        }
        if not self.options.raw:
            fields["return_raw_scores"] = True  # they keep their order where the others have all become 1.0
        return _json({"query": self.query, **fields, "documents": [self.documents[index] for index in part]})

    def max_answer_bytes(self, part: range) -> int:
        """Return a bound: more bytes than a whole answer about the part can have."""
        return _BYTES_OF_SCORES + _BYTES_OF_SCORE * len(part)

    def note(self, part: range) -> str:
        """Return a note for a message about one part: the server numbers the documents of each request from 0."""
        if len(part) == len(self.documents):
            return ""
        return f" (in the part with documents {part.start} to {part.stop - 1}, numbered from 0)"


def read_info(content: bytes, url: str) -> ServerInfo:
    """Read the answer of ``GET /info``. Raises ``ModelError`` for what is not a rerank-server's answer."""
    source = f"GET {url}"
    answer = _object(content, source)
    unusable = [] if isinstance(answer.get("model_id"), str) and answer["model_id"] else ["model_id"]
    unusable += [name for name in _LIMITS if not _is_limit(answer.get(name))]
    if unusable:
        raise ModelError(
            f"{source} answered without a usable {' and '.join(unusable)}: is this the address of a rerank-server?"
        )
    return ServerInfo(
        model=answer["model_id"],
        max_documents=answer["max_client_batch_size"],
        max_body_bytes=answer["max_body_bytes"],
        max_text_chars=answer["max_text_chars"] if _is_limit(answer.get("max_text_chars")) else None,
        truncation_side="left" if answer.get("truncation_side") == "left" else "right",
        independent=answer.get("independent") is not False,
    )


def read_scores(content: bytes, url: str, part: range, question: Question) -> Scores:
    """Read the answer of ``POST /v1/rerank`` about the documents at the positions ``part``.

    Raises ``ModelError`` unless there is exactly one finite score for each.
    """
    source = f"POST {url}"
    answer = _object(content, source)
    cuts = {index: missing for index, missing in question.cuts.items() if index in part}
    values: dict[int, float] = {}
    raw_values: dict[int, float] = {}
    try:
        truncated = max(int(answer["usage"]["truncated"]), len(cuts))
        usage = Usage(pairs=len(part), tokens=int(answer["usage"]["total_tokens"]), truncated=truncated)
        model = answer["model"]
        results = [
            (result["index"], result["relevance_score"], result.get("raw_score")) for result in answer["results"]
        ]
        spans = {
            result["index"]: _span(found, cuts.get(part.start + result["index"], 0))
            for result in answer["results"]
            for found in result.get("relevant_spans") or ()
        }
        sentences = {
            result["index"]: tuple(
                Sentence(*_span(found, cuts.get(part.start + result["index"], 0)), _finite(found["score"]))
                for found in result["sentences"]
            )
            for result in answer["results"]
            if result.get("sentences") is not None
        }
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{source} answered in another shape than rerank-server's: {_shown(error)}") from error
    if not isinstance(model, str):
        raise ModelError(f"{source} answered in another shape than rerank-server's: its model is {_shown(model)}")
    for index, value, raw in results:
        if type(index) is not int or not 0 <= index < len(part):
            raise ModelError(f"{source} answered with index {_shown(index)} for {len(part)} documents")
        document = part[index]
        if index in values:
            raise ModelError(f"{source} answered with two scores for document {document}")
        raw = value if question.options.raw else raw
        for number in (value,) if raw is None else (value, raw):
            if not _is_finite(number):
                raise ModelError(f"{source} answered with {_shown(number)} as the score of document {document}")
        values[index] = float(value)
        if raw is not None:
            raw_values[index] = float(raw)
    if len(values) < len(part):
        missing = next(part[index] for index in range(len(part)) if index not in values)
        raise ModelError(
            f"{source} answered with {len(values)} scores for {len(part)} documents: none for document {missing}"
        )
    return Scores(
        values=tuple(values[index] for index in range(len(part))),
        raw_values=tuple(raw_values[index] for index in range(len(part))) if len(raw_values) == len(part) else None,
        model=_printable(model, _LONGEST_MESSAGE),
        usage=usage,
        spans=tuple(spans.get(index) for index in range(len(part))) if spans else None,
        sentences=tuple(sentences.get(index) for index in range(len(part))) if sentences else None,
    )


def join(answers: Sequence[Scores], info: ServerInfo, options: ScoreOptions) -> Scores:
    """Join the answers of all parts. Each has sentences for as many documents as all together should have.

    Raises ``Unavailable`` where the model changed on the way: scores of two models do not compare.
    """
    if not answers:
        sentences = None if options.highlight is None else ()
        usage = Usage(pairs=0, tokens=0, truncated=0)
        return Scores(values=(), raw_values=(), model=info.model, usage=usage, sentences=sentences)
    models = list(dict.fromkeys(answer.model for answer in answers))
    if len(models) > 1:
        raise Unavailable(
            f"the model changed from {models[0]} to {models[1]} between two parts of one list: ask again, "
            "and let all servers have the same model"
        )
    scores = joined(answers)
    if scores.sentences is None and options.highlight is not None and options.highlight_threshold is not None:
        return replace(scores, sentences=(None,) * len(scores))  # no document scores enough
    if scores.sentences is None or options.highlight_top is None:
        return scores
    best = {found.index for found in rank(scores, top_n=options.highlight_top)}
    kept = tuple(found if index in best else None for index, found in enumerate(scores.sentences))
    return replace(scores, sentences=kept)


def read_own_error(content: bytes, *, retry_after: str | None = None, note: str = "") -> RerankError | None:
    """Read the error of a rerank-server by its code; None for one without a code of ours.

    ``retry_after`` is the header of that name. ``note`` is added to the message.
    """
    answer = _parsed(content)
    if not isinstance(answer, dict) or not isinstance(answer.get("message"), str):
        return None
    code = str(answer.get("code"))[:_EXCERPT]
    known = error_class(code) or _SERVER_CODES.get(code)
    return _made(known, _printable(answer["message"], _LONGEST_MESSAGE) + note, retry_after) if known else None


def foreign_error(
    status: int, content: bytes, url: str, *, retry_after: str | None = None, note: str = ""
) -> RerankError:
    """Make the error of an answer that a proxy or another server gave, by its status. Arguments: ``read_own_error``."""
    answer = _parsed(content)
    if answer is None:
        said = content.decode(errors="replace")
    else:
        answer = answer if isinstance(answer, dict) else {}
        # Some servers send back the whole request with what they complain about; what is in words is a complaint only.
        said = next((answer[name] for name in _COMPLAINTS if isinstance(answer.get(name), str)), "JSON of another kind")
    excerpt = _printable(said, _EXCERPT) or "an empty body"
    hint = f": {_HINTS[status]}" if status in _HINTS else ""
    guessed = _BY_STATUS.get(status) or (ModelError if status >= 500 else NotARerankServer)
    return _made(guessed, f"{url} answered {status}{hint} ({excerpt}){note}", retry_after)


def _made(kind: type[RerankError], message: str, retry_after: str | None) -> RerankError:
    if issubclass(kind, Unavailable):
        return kind(message, retry_after=_seconds(retry_after))
    return kind(message)


def _seconds(retry_after: str | None) -> float | None:
    """Read seconds to wait; None for a date, which our server never sends."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _parsed(content: bytes) -> Any:
    """Parse the content as JSON; None for what is no JSON, or is nested deeper than anything of ours."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _object(content: bytes, source: str) -> dict[str, Any]:
    answer = _parsed(content)
    if not isinstance(answer, dict):
        excerpt = _printable(content[: 10 * _EXCERPT].decode(errors="replace"), _EXCERPT)
        raise ModelError(f"{source} answered with something else than a JSON object: {excerpt!r}")
    return answer


def _printable(text: str, length: int) -> str:
    """Put the text of another server on one line, shortened, without what a terminal or a file could not take."""
    text = " ".join(text[: 10 * length].split())
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)[:length]


def _shown(value: object) -> str:
    try:
        return _printable(repr(value), _EXCERPT)
    except (RecursionError, ValueError):  # an integer of thousands of digits
        return f"a {type(value).__name__}"


def _is_limit(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_finite(value: Any) -> bool:
    # The comparison also holds off what is not a number, and an integer that no float can hold.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _finite(value: Any) -> float:
    if not _is_finite(value):
        raise ValueError(f"{value!r:.50} is no score")
    return float(value)


def _span(found: Any, missing: int) -> Span:
    start, end = found["start"], found["end"]
    if type(start) is not int or type(end) is not int or not 0 <= start <= end:
        raise ValueError(f"{start!r:.50} to {end!r:.50} is no part of a text")
    return Span(start + missing, end + missing)


def _cut_to(text: str, length: int, cut_side: str) -> str:
    """Cut the text to so many characters."""
    if len(text) <= length:
        return text
    return text[len(text) - length :] if cut_side == "left" else text[:length]


def _fitting(text: str, room: int, cut_side: str) -> str:
    """Cut a text to what makes JSON of ``room`` bytes; keep all of it where not one character would fit."""
    if len(text) * 6 + 2 <= room or len(_json(text)) <= room:
        return text
    low, high = 0, min(len(text), max(0, room - 2))  # a character takes a byte or more
    while low < high:
        middle = (low + high + 1) // 2
        if len(_json(_cut_to(text, middle, cut_side))) <= room:
            low = middle
        else:
            high = middle - 1
    return _cut_to(text, low, cut_side) if low else text
