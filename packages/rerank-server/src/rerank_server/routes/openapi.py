"""The OpenAPI document: every route, with descriptions, examples and error bodies.

It is made from the same Structs that read and write the bodies. The framework cannot make it, because a route with
several dialects reads its body itself.
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
from rerank_server.dialects.routing import ROUTES, ScoringRoute
from rerank_server.errors import ForeignOrigin, UnsupportedCoding
from rerank_server.routes.health import Health
from rerank_server.routes.info import Info, Service
from rerank_server.routes.models import Cluster, Model, Models, NoModel

_ABOUT = """\
A reranker scores how well documents answer a query.

`POST /rerank` scores one pair, `POST /rerank/batch` scores up to 100 pairs, and `POST /v1/rerank` orders many documents
for one query. A score is a logit, or a number in [0, 1]: `normalize` and `raw_scores` choose.

Clients of other vendors' APIs work too: the fields of the body tell the API, or a prefix of the path, such as
`/infinity/rerank`.
"""


@dataclass(frozen=True, slots=True)
class _Reply:
    """A response: status, description, types of the body (empty: no body), and an example.

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
_WWW_AUTHENTICATE = {
    "WWW-Authenticate": {"description": "The scheme of authentication: `Bearer`.", "schema": {"type": "string"}}
}

# The headers of a scoring request.
_HEADERS = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "The timeout of the request in seconds, where it is less than that of the server.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "The identifier of this request in the log and in the response: up to 128 characters of A-Z, "
        "a-z, 0-9, and . _ : -. Any other value is ignored.",
        "schema": {"type": "string"},
    },
]


def _scoring(route: ScoringRoute) -> _Operation:
    """The operation of a scoring route."""
    dialects = route.dialects
    bodies = tuple(dict.fromkeys(error for dialect in dialects for error in dialect.errors))

    def failed(status: int, meaning: str, error: RerankError, headers: dict[str, Any] | None = None) -> _Reply:
        example = msgspec.to_builtins(route.fallback.error(error, REPLY))
        return _Reply(status, meaning, bodies, example, headers or {})

    own: dict[int, list[str]] = {}
    for dialect in dialects:
        for status, meaning in dialect.error_descriptions.items():
            own.setdefault(status, []).append(meaning)
    unread = own.pop(415, [])
    return _Operation(
        "post",
        route.path,
        route.default.summary,
        (
            _Reply(
                200,
                "The scores. " + _by_key(route),
                tuple(dict.fromkeys(dialect.response for dialect in dialects)),
                route.default.answered,
            ),
            *(_Reply(status, " Or: ".join(dict.fromkeys(meanings)), bodies) for status, meanings in own.items()),
            failed(
                401,
                "The server requires an API key, and the request has none, or an unknown one.",
                Unauthorized("this needs an API key: send it as 'Authorization: Bearer KEY'"),
                _WWW_AUTHENTICATE,
            ),
            failed(
                403,
                "The request comes from a web page whose origin is not in CORS_ORIGINS.",
                ForeignOrigin("the origin of this page may not call the server: name it in CORS_ORIGINS"),
            ),
            failed(
                413,
                "The request has more documents, or more bytes, than the server accepts.",
                TooManyDocuments("the request has 1001 documents, a request may have 1000"),
            ),
            failed(
                415,
                " Or: ".join(
                    dict.fromkeys([*unread, "The charset or the Content-Encoding of the body is not supported."])
                ),
                UnsupportedCoding(
                    "the Content-Encoding is 'br': send the body as it is, or compressed as gzip or deflate"
                ),
                _ACCEPT_ENCODING,
            ),
            failed(
                429,
                "The server is full, or the request would not be finished before its timeout.",
                Overloaded("4 pairs would wait about 400 s, longer than the 300 s that the request has"),
                _RETRY_AFTER,
            ),
            failed(500, "The model failed.", EngineError("the packed engine failed on 1 sequences")),
            failed(
                503,
                "The model is not loaded yet, or the server is shutting down.",
                Unavailable("the server is loading: try again"),
                _RETRY_AFTER,
            ),
            failed(
                504,
                "The timeout of the request has passed.",
                DeadlineExceeded("the 2.5 s of this request are over, with 10 sequences of its 40 pairs computed"),
            ),
        ),
        "scoring",
        tuple(dict.fromkeys(dialect.request for dialect in dialects)),
        {dialect.name: dict(dialect.example) for dialect in dialects},
        _by_key(route),
    )


def _by_key(route: ScoringRoute) -> str:
    """A sentence on the keys that tell the dialect of a body."""
    keys = {dialect.summary.lower(): route.keys_of(dialect) for dialect in route.dialects}
    sentences = [f"with {' or '.join(f'`{key}`' for key in found)}: {summary}" for summary, found in keys.items()]
    return f"A body {'; '.join(sentences)}." if len(sentences) > 1 else f"{route.default.summary}."


_HEALTH = {
    "status": "healthy",
    "model_loaded": True,
    "model_name": "BAAI/bge-reranker-v2-m3",
    "device": "cpu",
    "dtype": "float32",
    "version": __version__,
}


_OPERATIONS = (
    *(_scoring(route) for route in ROUTES),
    _Operation(
        "get",
        "/health",
        "The state of the server",
        (
            _Reply(200, "The model is loaded.", (Health,), _HEALTH),
            _Reply(
                503,
                "The server is loading, draining, stuck or broken.",
                (Health,),
                _HEALTH | {"status": "loading", "model_loaded": False},
            ),
        ),
        "health",
    ),
    _Operation(
        "get",
        "/readyz",
        "Readiness: whether the server accepts scoring requests",
        (
            _Reply(200, "The server accepts scoring requests."),
            _Reply(503, "The server is loading, draining, stuck or broken."),
        ),
        "health",
    ),
    _Operation(
        "get",
        "/ping",
        "Readiness, for SageMaker",
        (
            _Reply(200, "The server accepts scoring requests."),
            _Reply(503, "The server is loading, draining, stuck or broken."),
        ),
        "health",
    ),
    _Operation(
        "get",
        "/v1/health/ready",
        "Readiness, for clients of NIM",
        (
            _Reply(200, "The server accepts scoring requests."),
            _Reply(503, "The server is loading, draining, stuck or broken."),
        ),
        "health",
    ),
    _Operation(
        "get", "/livez", "Liveness: whether the process answers", (_Reply(200, "The process answers."),), "health"
    ),
    _Operation(
        "get", "/v1/health/live", "Liveness, for clients of NIM", (_Reply(200, "The process answers."),), "health"
    ),
    _Operation(
        "get",
        "/",
        "The service and its model",
        (
            _Reply(200, "The service, its version and its model.", (Service,)),
            _Reply(302, "A redirection of browsers to the playground."),
        ),
        "about",
    ),
    _Operation(
        "get",
        "/metrics",
        "Metrics for Prometheus",
        (_Reply(200, "The metrics in the text format of Prometheus.", text="text/plain"),),
        "health",
    ),
    _Operation(
        "get",
        "/info",
        "The model and the limits, in the shape of text-embeddings-inference",
        (_Reply(200, "The model and the limits.", (Info,)),),
        "about",
    ),
    _Operation(
        "get",
        "/v1/cluster/auth",
        "Whether API keys are required, for clients of Xinference",
        (_Reply(200, "Whether API keys are required.", (Cluster,)),),
        "about",
    ),
    _Operation("get", "/models", "The list of models", (_Reply(200, "A list of one model.", (Models,)),), "about"),
    _Operation("get", "/v1/models", "The list of models", (_Reply(200, "A list of one model.", (Models,)),), "about"),
    _Operation(
        "get",
        "/v1/models/{name}",
        "A model by its name",
        (
            _Reply(200, "The model.", (Model,)),
            _Reply(404, "No model has this name, and RERANK_STRICT_MODEL is set.", (NoModel,)),
        ),
        "about",
    ),
)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, ready for JSON."""
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
            {"name": "scoring", "description": "Scores of pairs, and documents in the order of their scores."},
            {"name": "health", "description": "State, probes and metrics."},
            {"name": "about", "description": "The service, its model and its limits."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, where the server requires one."}
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
    """A reference for each type of a body, and the schemas that they refer to."""
    bodies = {body: None for operation in _OPERATIONS for body in operation.body}
    bodies |= {body: None for operation in _OPERATIONS for reply in operation.replies for body in reply.body}
    found, components = msgspec.json.schema_components(list(bodies), ref_template="#/components/schemas/{name}")
    return dict(zip(bodies, found, strict=True)), dict(sorted(components.items()))


def _schema(bodies: tuple[Any, ...]) -> dict[str, Any]:
    references = [_schemas()[0][body] for body in bodies]
    return references[0] if len(references) == 1 else {"anyOf": references}
