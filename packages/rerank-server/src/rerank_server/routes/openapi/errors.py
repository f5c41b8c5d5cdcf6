"""The errors of a scoring route, as the OpenAPI document describes them: each status, its bodies and an example.

The bodies are those that the dialects themselves make of an error of each kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    Overloaded,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
    UnknownModel,
)

from rerank_server.dialects.base import Dialect
from rerank_server.dialects.examples import REPLY
from rerank_server.errors import (
    BodyTooLarge,
    ForeignOrigin,
    InvalidHeader,
    MalformedBody,
    NoDocuments,
    UnsupportedCoding,
    WrongContentType,
    WrongField,
)

# An error of each kind. The first one with a status is the example of that status.
_ERRORS = (
    WrongField("query is missing", field="query"),
    NoDocuments("documents is empty: send at least one", field="documents"),
    MalformedBody("the body is not JSON"),
    WrongContentType("the Content-Type is 'text/plain': send application/json"),
    InvalidHeader("X-Request-Timeout is -1: send a number of seconds above 0"),
    UnknownModel("the model 'another' does not run here: 'BAAI/bge-reranker-v2-m3' does"),
    Unauthorized("this needs an API key: send it as 'Authorization: Bearer KEY'"),
    ForeignOrigin("the origin of this page may not call the server: name it in CORS_ORIGINS"),
    TooManyDocuments("the request has 1001 documents, a request may have 1000"),
    BodyTooLarge("the body has more than 10485760 bytes"),
    UnsupportedCoding("the Content-Encoding is 'br': send the body as it is, or compressed as gzip or deflate"),
    Overloaded("4 pairs would wait about 400 s, longer than the 300 s that the request has"),
    EngineError("the packed engine failed on 1 sequences"),
    Unavailable("the server is loading: try again"),
    DeadlineExceeded("the 2.5 s of this request are over, with 10 sequences of its 40 pairs computed"),
)

_RETRY_AFTER = {
    "Retry-After": {
        "description": "The number of seconds to wait before the next attempt.",
        "schema": {"type": "integer"},
    }
}
_ACCEPT_ENCODING = {
    "Accept-Encoding": {
        "description": "The supported values of Content-Encoding, where the one of the request is not supported.",
        "schema": {"type": "string"},
    }
}
WWW_AUTHENTICATE = {
    "WWW-Authenticate": {"description": "The scheme of authentication: `Bearer`.", "schema": {"type": "string"}}
}

UNAUTHORIZED = "The server requires an API key, and the request has none, or an unknown one."
_MEANINGS = {
    401: UNAUTHORIZED,
    403: "The request comes from a web page whose origin is not in CORS_ORIGINS.",
    413: "The request has more documents, or more bytes, than the server accepts.",
    415: "The charset or the Content-Encoding of the body is not supported.",
    429: "The server is full, or the request would not be finished before its timeout.",
    500: "The model failed.",
    503: "The model is not loaded yet, or the server is shutting down.",
    504: "The timeout of the request has passed.",
}
_HEADERS = {401: WWW_AUTHENTICATE, 415: _ACCEPT_ENCODING, 429: _RETRY_AFTER, 503: _RETRY_AFTER}


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A status, what it means, the types of its body, an example of it, and its headers."""

    status: int
    meaning: str
    body: tuple[Any, ...]
    example: object
    headers: dict[str, Any] = field(default_factory=dict)


def error_replies(dialect: Dialect) -> list[ErrorReply]:
    """The errors of a route whose default dialect this is, by status."""
    replies = []
    for status in sorted({*_MEANINGS, *dialect.error_descriptions}):
        bodies = [dialect.error(error, REPLY) for error in _ERRORS if dialect.status_of(error) == status]
        if bodies:
            meanings = filter(None, (dialect.error_descriptions.get(status), _MEANINGS.get(status)))
            types = tuple(dict.fromkeys(type(body) for body in bodies))
            example = msgspec.to_builtins(bodies[0])
            replies.append(ErrorReply(status, " Or: ".join(meanings), types, example, _HEADERS.get(status, {})))
    return replies
