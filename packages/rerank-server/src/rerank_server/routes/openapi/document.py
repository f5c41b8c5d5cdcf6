"""The OpenAPI document: every route, with descriptions, examples and error bodies.

It is made from the same Structs that read and write the bodies. The framework cannot make it, because a route with
several dialects reads its body itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from rerank_server import __version__
from rerank_server.routes.openapi import schemas
from rerank_server.routes.openapi.operations import OPERATIONS, TAGS, Operation, Reply

_ABOUT = """\
A reranker scores how well documents answer a query.

`POST /v1/rerank` orders many documents for one query, `POST /rerank` scores one pair, and `POST /rerank/batch` scores
up to 100 pairs. A score is a logit, or a number in [0, 1]: `normalize` and `raw_scores` choose.

Clients of other vendors' APIs work too: the fields of the body tell the API, or a prefix of the path, such as
`/infinity/rerank`. In a request a field with a null counts as missing, and unknown fields are ignored.
"""

# The headers of a scoring request.
_PARAMETERS = {
    "RequestTimeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "required": False,
        "description": "The timeout of the request in seconds, where it is less than that of the server.",
        "schema": {"type": "number", "format": "double", "exclusiveMinimum": 0},
    },
    "RequestID": {
        "name": "X-Request-ID",
        "in": "header",
        "required": False,
        "description": "The identifier of this request in the log and in the response: up to 128 characters of A-Z, "
        "a-z, 0-9, and . _ : -. Any other value is ignored.",
        "schema": {"type": "string"},
    },
}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of the model, which may have slashes.",
    "schema": {"type": "string"},
}


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rerank",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "This server"}],
        "tags": [{"name": tag.name, "x-displayName": tag.title, "description": tag.description} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": _schemas()[1],
            "parameters": _PARAMETERS,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, where the server requires one."}
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "operationId": operation.id,
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body:
        described["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS]
    if "{name}" in operation.path:
        described["parameters"] = [_NAME]
    if operation.needs_key:
        described["security"] = [{}, {"key": []}]
    if operation.body:
        content = {"schema": _schema((operation.body,)), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    described["responses"] = {str(reply.status): _reply(reply) for reply in operation.replies}
    return described


def _reply(reply: Reply) -> dict[str, Any]:
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
def _schemas() -> tuple[dict[Any, schemas.Schema], dict[str, schemas.Schema]]:
    """A reference for each type of a body, and the schemas that they refer to."""
    requests = _distinct(operation.body for operation in OPERATIONS if operation.body)
    responses = _distinct(body for operation in OPERATIONS for reply in operation.replies for body in reply.body)
    asked, named = schemas.of_requests(requests)
    answered, others = schemas.of_responses(responses)
    references = dict(zip([*requests, *responses], [*asked, *answered], strict=True))
    return references, dict(sorted({**schemas.DOCUMENTS, **named, **others}.items()))


def _distinct(bodies: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(bodies))


def _schema(bodies: tuple[Any, ...]) -> schemas.Schema:
    references = [_schemas()[0][body] for body in bodies]
    return references[0] if len(references) == 1 else {"anyOf": references}
