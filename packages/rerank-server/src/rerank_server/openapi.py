"""The OpenAPI document: every route, with descriptions, examples and error bodies.

Written from the same Structs that read and write the bodies. The framework cannot do it, since a route that serves
several wire languages reads its body itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from rerank_server import __version__
from rerank_server.dialects import documents, native
from rerank_server.routes.health import Health
from rerank_server.routes.info import Info, Service

_ABOUT = """\
Says how well passages answer a query, with a cross-encoder.

`POST /rerank` scores one pair, `POST /rerank/batch` up to 100, and `POST /v1/rerank` orders many documents for one
query. A score is a logit, or its sigmoid in [0, 1]: `normalize` and `raw_scores` choose.
"""

_QUERY = "what is a panda?"
_PANDA = "The giant panda is a bear species endemic to China."
_PARIS = "Paris is the capital of France."


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer: its status, what it means, the bodies it may have and an example. No body where there is none.

    ``text``: the media type of a body that is not JSON.
    """

    status: int
    description: str
    body: tuple[type[Struct], ...] = ()
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


def _documents_error(message: str, code: str, param: str | None = None) -> dict[str, Any]:
    return {
        "id": "6f8c2a1e-6f0f-4d34-9a3e-0a9b8f0a7c11",
        "message": message,
        "detail": message,
        "code": code,
        "error": {"message": message, "type": code, "param": param, "code": code},
    }


_DOCUMENTS = (documents.DocumentsError,)
_NATIVE = (native.Problem,)
_EITHER = (native.Problem, documents.DocumentsError)


def _failures(bodies: tuple[type[Struct], ...]) -> tuple[_Reply, ...]:
    """What may come of any body, at a route whose errors have these shapes."""

    def said(message: str, code: str) -> dict[str, Any]:
        return {"detail": message} if bodies[0] is native.Problem else _documents_error(message, code)

    return (
        _Reply(
            401,
            "The server asks for an API key, and this is none that it knows.",
            bodies,
            said("this needs an API key: send it as 'Authorization: Bearer KEY'", "unauthorized"),
            _WWW_AUTHENTICATE,
        ),
        _Reply(
            413,
            "More than a request may have.",
            bodies,
            said("the request has 1001 documents, a request may have 1000", "too_many_documents"),
        ),
        _Reply(
            429,
            "The server is full, or could not be done in time.",
            bodies,
            said("4 pairs would wait about 400 s, longer than the 300 s that the request has", "overloaded"),
            _RETRY_AFTER,
        ),
        _Reply(500, "The model failed.", bodies, said("the reference engine failed on 1 segments", "engine_error")),
        _Reply(
            503,
            "The model is not loaded yet, or the server is about to end.",
            bodies,
            said("the server is loading: try again", "unavailable"),
            _RETRY_AFTER,
        ),
        _Reply(
            504,
            "The request's time is over.",
            bodies,
            said("the 2.5 s of this request are over, with 10 segments of its 40 pairs computed", "deadline_exceeded"),
        ),
    )


_WRONG_FIELDS = _Reply(
    422,
    "The body is not as it should be: every field that is wrong, and why.",
    (native.WrongFields,),
    {"detail": [{"loc": ["body", "passage"], "msg": "Field required", "type": "missing"}]},
)

_HEALTH = {
    "status": "healthy",
    "model_loaded": True,
    "model_name": "BAAI/bge-reranker-v2-m3",
    "device": "cpu",
    "dtype": "float32",
    "version": __version__,
}

_PAIR_EXAMPLE = {"query": _QUERY, "passage": _PANDA, "normalize": True}
_DOCUMENTS_EXAMPLE = {"query": _QUERY, "documents": [_PARIS, _PANDA], "top_n": 1}

_OPERATIONS = (
    _Operation(
        "post",
        "/rerank",
        "Score one pair",
        (
            _Reply(
                200,
                "The score. For a body with `documents`: as `/v1/rerank` answers.",
                (native.PairResponse, documents.RerankResponse),
                {"score": 0.9948, "normalized": True, "query_length": len(_QUERY), "passage_length": len(_PANDA)},
            ),
            _Reply(
                400,
                "The body speaks two languages at once, or has wrong `documents`.",
                _EITHER,
                {"detail": "the body has passage and documents: send only one of them"},
            ),
            _WRONG_FIELDS,
            *_failures(_EITHER),
        ),
        "scoring",
        (native.PairRequest, documents.RerankRequest),
        {"one pair": _PAIR_EXAMPLE, "documents": _DOCUMENTS_EXAMPLE},
        "A body with `passage` is one pair; a body with `documents` is answered as at `/v1/rerank`, errors included.",
    ),
    _Operation(
        "post",
        "/rerank/batch",
        "Score up to 100 pairs",
        (
            _Reply(
                200,
                "The scores, in the order of the pairs.",
                (native.BatchResponse,),
                {"scores": [5.26, -8.19], "normalized": False, "pairs_count": 2},
            ),
            _Reply(
                400,
                "The body speaks two languages at once, or a header says what cannot be.",
                _NATIVE,
                {"detail": "the body has documents and pairs: send only one of them"},
            ),
            _WRONG_FIELDS,
            *_failures(_NATIVE),
        ),
        "scoring",
        (native.BatchRequest,),
        {"two pairs": {"pairs": [{"query": _QUERY, "passage": text} for text in (_PANDA, _PARIS)]}},
    ),
    _Operation(
        "post",
        "/v1/rerank",
        "Order documents by how well they answer a query",
        (
            _Reply(
                200,
                "The documents, best first.",
                (documents.RerankResponse,),
                {
                    "id": "6f8c2a1e-6f0f-4d34-9a3e-0a9b8f0a7c11",
                    "object": "rerank",
                    "created": 1767225600,
                    "model": "BAAI/bge-reranker-v2-m3",
                    "results": [{"index": 1, "relevance_score": 0.9948}],
                    "usage": {"prompt_tokens": 41, "total_tokens": 41, "truncated": 0},
                    "meta": {
                        "api_version": {"version": "2"},
                        "billed_units": {"search_units": 1},
                        "tokens": {"input_tokens": 41, "output_tokens": 0},
                    },
                },
            ),
            _Reply(
                400,
                "The body is not as it should be.",
                _DOCUMENTS,
                _documents_error("documents is empty: send at least one", "invalid_request", "documents"),
            ),
            *_failures(_DOCUMENTS),
        ),
        "scoring",
        (documents.RerankRequest,),
        {"the best of two": _DOCUMENTS_EXAMPLE},
    ),
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
    _Operation("get", "/livez", "Whether the process lives", (_Reply(200, "It does."),), "health"),
    _Operation("get", "/", "What runs here", (_Reply(200, "The service and its model.", (Service,)),), "about"),
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
)


def openapi_document() -> dict[str, Any]:
    """The document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    bodies = {body for operation in _OPERATIONS for body in operation.body}
    bodies |= {body for operation in _OPERATIONS for reply in operation.replies for body in reply.body}
    _, schemas = msgspec.json.schema_components(
        sorted(bodies, key=lambda body: body.__name__), ref_template="#/components/schemas/{name}"
    )
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


def _schema(bodies: tuple[type[Struct], ...]) -> dict[str, Any]:
    references = [{"$ref": f"#/components/schemas/{body.__name__}"} for body in bodies]
    return references[0] if len(references) == 1 else {"anyOf": references}
