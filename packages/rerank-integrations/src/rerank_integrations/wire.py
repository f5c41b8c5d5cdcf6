"""The words of rerank-server's own API, from the caller's side. Pure: what to send, and what an answer means."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
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
from rerank_core.types import ScoreOptions, Scores, Span, Usage

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
}

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
    404: "is this the address of a rerank-server?",
    413: "a proxy on the way takes less than the server itself: raise its limit, or send less at once",
}
_COMPLAINTS = ("message", "detail", "error")
_LIMITS = ("max_client_batch_size", "max_body_bytes")
_EXCERPT = 200  # characters


class Misdirected(InvalidRequest):
    """A request was refused by what is no rerank-server: the address leads elsewhere, or a proxy is in the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself: its model, and how much it takes in one request."""

    model: str
    max_documents: int
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in as many requests as it takes."""

    query: str
    documents: Sequence[str]
    options: ScoreOptions

    def parts(self, info: ServerInfo) -> list[range]:
        """The documents' positions, in order, in as few requests as the server's limits allow.

        Raises ``InvalidRequest`` for a document that is too large for any request.
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
        return parts

    def body(self, part: range) -> bytes:
        """The body of one part's request: of the options, those that are not the default."""
        default = ScoreOptions()
        fields = {
            name: getattr(self.options, field)
            for field, name in _NAMES.items()
            if getattr(self.options, field) != getattr(default, field)
        }
        return _json({"query": self.query, **fields, "documents": [self.documents[index] for index in part]})

    def note(self, part: range) -> str:
        """What to add to a message about one part: the server numbers the documents of each request from 0."""
        if len(part) == len(self.documents):
            return ""
        return f" (in the part with documents {part.start} to {part.stop - 1}, numbered from 0)"


def read_info(content: bytes, url: str) -> ServerInfo:
    """What ``GET /info`` answered. Raises ``ModelError`` for what is not a rerank-server's answer."""
    source = f"GET {url}"
    answer = _object(content, source)
    unusable = [] if isinstance(answer.get("model_id"), str) and answer["model_id"] else ["model_id"]
    unusable += [name for name in _LIMITS if type(answer.get(name)) is not int or answer[name] < 1]
    if unusable:
        raise ModelError(
            f"{source} answered without a usable {' and '.join(unusable)}: is this the address of a rerank-server?"
        )
    return ServerInfo(
        model=answer["model_id"],
        max_documents=answer["max_client_batch_size"],
        max_body_bytes=answer["max_body_bytes"],
    )


def read_scores(content: bytes, url: str, part: range) -> Scores:
    """What ``POST /v1/rerank`` answered for the documents at the positions ``part``.

    Raises ``ModelError`` unless there is exactly one finite score for each.
    """
    source = f"POST {url}"
    answer = _object(content, source)
    values: dict[int, float] = {}
    try:
        usage = Usage(
            pairs=len(part), tokens=int(answer["usage"]["total_tokens"]), truncated=int(answer["usage"]["truncated"])
        )
        model = str(answer["model"])
        results = [(result["index"], result["relevance_score"]) for result in answer["results"]]
        spans = {
            result["index"]: Span(int(found["start"]), int(found["end"]))
            for result in answer["results"]
            for found in result.get("relevant_spans", ())
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{source} answered in another shape than rerank-server's: {error!r}") from error
    for index, value in results:
        if type(index) is not int or not 0 <= index < len(part):
            raise ModelError(f"{source} answered with index {index!r} for {len(part)} documents")
        document = part[index]
        if index in values:
            raise ModelError(f"{source} answered with two scores for document {document}")
        # The comparison also holds off what is not a number, and an integer that no float can hold.
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ModelError(f"{source} answered with {value!r} as the score of document {document}")
        values[index] = float(value)
    if len(values) < len(part):
        missing = next(part[index] for index in range(len(part)) if index not in values)
        raise ModelError(
            f"{source} answered with {len(values)} scores for {len(part)} documents: none for document {missing}"
        )
    return Scores(
        values=tuple(values[index] for index in range(len(part))),
        model=model,
        usage=usage,
        spans=tuple(spans.get(index) for index in range(len(part))) if spans else None,
    )


def join(answers: Sequence[Scores], info: ServerInfo) -> Scores:
    """One answer for the whole list.

    Raises ``Unavailable`` where the model changed on the way: scores of two models do not compare.
    """
    models = list(dict.fromkeys(answer.model for answer in answers)) or [info.model]
    if len(models) > 1:
        raise Unavailable(
            f"the model changed from {models[0]} to {models[1]} between two parts of one list: ask again, "
            "and let all servers have the same model"
        )
    return Scores(
        values=tuple(value for answer in answers for value in answer.values),
        model=models[0],
        usage=Usage(
            pairs=sum(answer.usage.pairs for answer in answers),
            tokens=sum(answer.usage.tokens for answer in answers),
            truncated=sum(answer.usage.truncated for answer in answers),
        ),
        spans=tuple(span for answer in answers for span in answer.spans or [None] * len(answer.values))
        if any(answer.spans for answer in answers)
        else None,
    )


def read_error(status: int, content: bytes, url: str, *, retry_after: str | None = None, note: str = "") -> RerankError:
    """The error that an answer other than 200 speaks of: by its code, else by its status.

    ``retry_after`` is the header of that name. ``note`` is added to the message.
    """
    try:
        answer = json.loads(content)
    except ValueError:
        said = content.decode(errors="replace")
    else:
        answer = answer if isinstance(answer, dict) else {}
        # Some servers send back the whole request with what they complain about; what is in words is a complaint only.
        said = next((answer[name] for name in _COMPLAINTS if isinstance(answer.get(name), str)), "JSON of another kind")
        known = error_class(str(answer.get("code")))
        if known and isinstance(answer.get("message"), str):
            return _made(known, answer["message"] + note, retry_after)

    excerpt = " ".join(said.split())[:_EXCERPT] or "an empty body"
    hint = f": {_HINTS[status]}" if status in _HINTS else ""
    guessed = _BY_STATUS.get(status) or (ModelError if status >= 500 else Misdirected)
    return _made(guessed, f"{url} answered {status}{hint} ({excerpt}){note}", retry_after)


def _made(kind: type[RerankError], message: str, retry_after: str | None) -> RerankError:
    if issubclass(kind, Unavailable):
        return kind(message, retry_after=_seconds(retry_after))
    return kind(message)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds to wait; None for a date, which our server never sends."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _object(content: bytes, source: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        excerpt = " ".join(content.decode(errors="replace").split())[:_EXCERPT]
        raise ModelError(f"{source} answered with something else than a JSON object: {excerpt!r}")
    return answer
