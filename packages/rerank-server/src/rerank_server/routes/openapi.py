"""The OpenAPI document: every route, with descriptions, examples and error bodies.

Written from the same Structs that read and write the bodies. The framework cannot do it, since a route that serves
several wire languages reads its body itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct
from rerank_core.errors import (
    DeadlineExceeded,
    EngineError,
    Overloaded,
    RerankError,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
)

from rerank_server import __version__
from rerank_server.dialects.examples import REPLY
from rerank_server.dialects.routing import PLACES, Place
from rerank_server.errors import ForeignOrigin, UnsupportedCoding
from rerank_server.routes.health import Health
from rerank_server.routes.info import Info, Service
from rerank_server.routes.models import Cluster, Model, Models, NoModel

_ABOUT = """\
Says how well passages answer a query, with a cross-encoder.

`POST /rerank` scores one pair, `POST /rerank/batch` up to 100, and `POST /v1/rerank` orders many documents for one
query. A score is a logit, or its sigmoid in [0, 1]: `normalize` and `raw_scores` choose.

Clients of other servers find their own language: by what is in the body where that tells, and else below a prefix, such
as `/infinity/rerank`.
"""


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer: its status, what it means, the bodies it may have and an example. No body where there is none.

    ``text``: the media type of a body that is not JSON.
    """

    status: int
    description: str
    body: tuple[Any, ...] = ()
    example: object = None
    headers: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


@dataclass(frozen=True, slots=True)
class _Operation:
    """A route, for one method."""

    method: str
    path: str
    summary: str
    replies: tuple[_Reply, ...]
    tag: str
    body: tuple[type[Struct], ...] = ()
    examples: dict[str, object] = field(default_factory=dict)
    description: str = ""


_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer"}}
}
_ACCEPT_ENCODING = {
    "Accept-Encoding": {
        "description": "The codings that are read, where the Content-Encoding is none of them.",
        "schema": {"type": "string"},
    }
}
_WWW_AUTHENTICATE = {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}}

# What a request for scores may say in its head.
_HEADERS = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds that the request may take, where that is less than the server's own limit.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "What to call this request in the log and the answer: up to 128 of A-Z, a-z, 0-9, and . _ : -; "
        "anything else is passed over.",
        "schema": {"type": "string"},
    },
]


def _scoring(place: Place) -> _Operation:
    """What is asked and answered at a path that scores."""
    spoken = place.dialects
    bodies = tuple(dict.fromkeys(error for dialect in spoken for error in dialect.errors))

    def failed(status: int, meaning: str, error: RerankError, headers: dict[str, Any] | None = None) -> _Reply:
        example = msgspec.to_builtins(place.refusal.error(error, REPLY))
        return _Reply(status, meaning, bodies, example, headers or {})

    own: dict[int, list[str]] = {}
    for dialect in spoken:
        for status, meaning in dialect.error_descriptions.items():
            own.setdefault(status, []).append(meaning)
    unread = own.pop(415, [])
    return _Operation(
        "post",
        place.path,
        place.default.summary,
        (
            _Reply(
                200,
                "The scores. " + _by_key(place),
                tuple(dict.fromkeys(dialect.response for dialect in spoken)),
                place.default.answered,
            ),
            *(_Reply(status, " Or: ".join(dict.fromkeys(meanings)), bodies) for status, meanings in own.items()),
            failed(
                401,
                "The server asks for an API key, and this is none that it knows.",
                Unauthorized("this needs an API key: send it as 'Authorization: Bearer KEY'"),
                _WWW_AUTHENTICATE,
            ),
            failed(
                403,
                "A page of an origin that CORS_ORIGINS does not name.",
                ForeignOrigin("the origin of this page may not call the server: name it in CORS_ORIGINS"),
            ),
            failed(
                413,
                "More than a request may have.",
                TooManyDocuments("the request has 1001 documents, a request may have 1000"),
            ),
            failed(
                415,
                " Or: ".join(dict.fromkeys([*unread, "The body's charset or Content-Encoding is not read here."])),
                UnsupportedCoding(
                    "the Content-Encoding is 'br': send the body as it is, or compressed as gzip or deflate"
                ),
                _ACCEPT_ENCODING,
            ),
            failed(
                429,
                "The server is full, or could not be done in time.",
                Overloaded("4 pairs would wait about 400 s, longer than the 300 s that the request has"),
                _RETRY_AFTER,
            ),
            failed(500, "The model failed.", EngineError("the packed engine failed on 1 segments")),
            failed(
                503,
                "The model is not loaded yet, or the server is about to end.",
                Unavailable("the server is loading: try again"),
                _RETRY_AFTER,
            ),
            failed(
                504,
                "The request's time is over.",
                DeadlineExceeded("the 2.5 s of this request are over, with 10 segments of its 40 pairs computed"),
            ),
        ),
        "scoring",
        tuple(dict.fromkeys(dialect.request for dialect in spoken)),
        {dialect.name: dict(dialect.example) for dialect in spoken},
        _by_key(place),
    )


def _by_key(place: Place) -> str:
    """What tells which of several languages a body is in."""
    keys = {dialect.summary.lower(): place.keys_of(dialect) for dialect in place.dialects}
    told = [f"with {' or '.join(f'`{key}`' for key in found)}: {summary}" for summary, found in keys.items()]
    return f"A body {'; '.join(told)}." if len(told) > 1 else f"{place.default.summary}."


_HEALTH = {
    "status": "healthy",
    "model_loaded": True,
    "model_name": "BAAI/bge-reranker-v2-m3",
    "device": "cpu",
    "dtype": "float32",
    "version": __version__,
}


_OPERATIONS = (
    *(_scoring(place) for place in PLACES),
    _Operation(
        "get",
        "/health",
        "How the server is",
        (
            _Reply(200, "The model is loaded.", (Health,), _HEALTH),
            _Reply(
                503,
                "It is loading, draining or broken.",
                (Health,),
                _HEALTH | {"status": "loading", "model_loaded": False},
            ),
        ),
        "health",
    ),
    _Operation(
        "get",
        "/readyz",
        "Whether it takes requests",
        (_Reply(200, "It does."), _Reply(503, "It is loading, draining or broken.")),
        "health",
    ),
    _Operation(
        "get",
        "/ping",
        "Whether it takes requests, as SageMaker asks",
        (_Reply(200, "It does."), _Reply(503, "It is loading, draining or broken.")),
        "health",
    ),
    _Operation(
        "get",
        "/v1/health/ready",
        "Whether it takes requests, as NIM is asked",
        (_Reply(200, "It does."), _Reply(503, "It is loading, draining or broken.")),
        "health",
    ),
    _Operation("get", "/livez", "Whether the process lives", (_Reply(200, "It does."),), "health"),
    _Operation(
        "get", "/v1/health/live", "Whether the process lives, as NIM is asked", (_Reply(200, "It does."),), "health"
    ),
    _Operation(
        "get",
        "/",
        "What runs here",
        (_Reply(200, "The service and its model.", (Service,)), _Reply(302, "For browsers: the playground.")),
        "about",
    ),
    _Operation(
        "get",
        "/metrics",
        "Numbers for Prometheus",
        (_Reply(200, "In Prometheus' text format.", text="text/plain"),),
        "health",
    ),
    _Operation(
        "get",
        "/info",
        "The model and the limits, as text-embeddings-inference says it",
        (_Reply(200, "The model and the limits.", (Info,)),),
        "about",
    ),
    _Operation(
        "get",
        "/v1/cluster/auth",
        "Whether keys are asked for, as Xinference's clients ask",
        (_Reply(200, "Whether they are.", (Cluster,)),),
        "about",
    ),
    _Operation("get", "/models", "The model, in a list", (_Reply(200, "One model.", (Models,)),), "about"),
    _Operation("get", "/v1/models", "The model, in a list", (_Reply(200, "One model.", (Models,)),), "about"),
    _Operation(
        "get",
        "/v1/models/{name}",
        "The model by its name",
        (_Reply(200, "The model.", (Model,)), _Reply(404, "Another name (RERANK_STRICT_MODEL).", (NoModel,))),
        "about",
    ),
)


def openapi_document() -> dict[str, Any]:
    """The document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    _, schemas = _schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rerank",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "tags": [
            {"name": "scoring", "description": "Scores, from pairs or from documents."},
            {"name": "health", "description": "For people and probes."},
            {"name": "about", "description": "What runs here."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "Where keys are asked for."}
            },
        },
    }


def _operation(operation: _Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "operationId": f"{operation.method}{operation.path.replace('/', '_').replace('.', '_')}",
        "summary": operation.summary,
        "description": operation.description or operation.summary + ".",
        "responses": {str(reply.status): _reply(reply) for reply in operation.replies},
    }
    if "{name}" in operation.path:
        described["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if operation.tag == "scoring":
        described |= {"parameters": _HEADERS, "security": [{}, {"key": []}]}
    if operation.body:
        examples = {name: {"value": value} for name, value in operation.examples.items()}
        content = {"schema": _schema(operation.body), "examples": examples}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _reply(reply: _Reply) -> dict[str, Any]:
    described: dict[str, Any] = {"description": reply.description}
    if reply.body:
        content: dict[str, Any] = {"schema": _schema(reply.body)}
        if reply.example is not None:
            content["example"] = reply.example
        described["content"] = {"application/json": content}
    if reply.text is not None:
        described["content"] = {reply.text: {"schema": {"type": "string"}}}
    if reply.headers:
        described["headers"] = reply.headers
    return described


@functools.cache
def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """A reference for each type that is sent or answered, and what they refer to."""
    bodies = {body: None for operation in _OPERATIONS for body in operation.body}
    bodies |= {body: None for operation in _OPERATIONS for reply in operation.replies for body in reply.body}
    found, components = msgspec.json.schema_components(list(bodies), ref_template="#/components/schemas/{name}")
    return dict(zip(bodies, found, strict=True)), dict(sorted(components.items()))


def _schema(bodies: tuple[Any, ...]) -> dict[str, Any]:
    references = [_schemas()[0][body] for body in bodies]
    return references[0] if len(references) == 1 else {"anyOf": references}
