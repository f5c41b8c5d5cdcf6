"""The OpenAPI document is true, whole and valid, and plain enough to generate clients from."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import jsonschema
import pytest
from httpx import AsyncClient as Client
from openapi_spec_validator import validate
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.dialects.base import Dialect
from rerank_server.dialects.routing import ROUTES
from rerank_server.routes.openapi.document import openapi_document
from rerank_server.routes.openapi.errors import error_replies
from rerank_server.settings import Settings

DOCUMENT = openapi_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
DIALECTS = {dialect.name: dialect for route in ROUTES for dialect in route.dialects}
# Pages for people, and the document itself.
UNDOCUMENTED = {"/docs", "/redoc", "/openapi.json", "/playground", "/static"}

Serve = Callable[..., AbstractAsyncContextManager[Client]]


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, found) for path, methods in DOCUMENT["paths"].items() for method, found in methods.items()]


def errors_of(schema: dict[str, Any], value: object) -> list[str]:
    whole = schema | {"components": DOCUMENT["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


def body_of(described: dict[str, Any]) -> dict[str, Any]:
    """The content of a request or a response in JSON."""
    found: dict[str, Any] = described.get("content", {}).get("application/json", {})
    return found


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema, and all schemas in it and behind its references."""
    if isinstance(schema, list):
        for item in schema:
            yield from parts(item)
    elif isinstance(schema, dict):
        yield schema
        if "$ref" in schema:
            yield from parts(SCHEMAS[schema["$ref"].rpartition("/")[2]])
        for value in schema.values():
            yield from parts(value)


def test_it_is_valid() -> None:
    validate(DOCUMENT)  # type: ignore[arg-type]


def test_it_describes_every_route_and_no_other() -> None:
    app = create_app(Settings(), load=lambda _: OverlapModel(), stop=lambda: None)
    served = app.paths - UNDOCUMENTED
    served = {path.replace("{name:path}", "{name}") for path in served if not path.startswith("/static")}

    assert served == set(DOCUMENT["paths"])


@pytest.mark.parametrize(("method", "path", "operation"), operations(), ids=lambda value: str(value)[:30])
def test_every_example_fits_its_schema(method: str, path: str, operation: dict[str, Any]) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for body in [*bodies, *operation["responses"].values()]:
        for content in body.get("content", {}).values():
            if "example" in content:
                assert errors_of(content["schema"], content["example"]) == []


@pytest.mark.parametrize(("method", "path", "operation"), operations(), ids=lambda value: str(value)[:30])
async def test_every_example_is_answered_as_described(
    client: Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    body = body_of(operation.get("requestBody", {})).get("example")

    response = await client.request(method.upper(), path, json=body)

    assert response.status_code == 200
    described = body_of(operation["responses"]["200"])
    if described:
        assert errors_of(described["schema"], response.json()) == []


def test_every_field_of_a_request_is_described() -> None:
    for name in ("PairRequest", "BatchRequest", "RerankRequest", "VllmScoreRequest"):
        for field, schema in SCHEMAS[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


def test_what_a_result_has_only_where_it_is_asked_for_is_described() -> None:
    for field, schema in SCHEMAS["Result"]["properties"].items():
        assert field in SCHEMAS["Result"]["required"] or "$ref" in schema or schema.get("description"), field


def test_a_request_and_an_answer_of_each_status_have_one_type() -> None:
    for _, path, operation in operations():
        for described in [operation.get("requestBody", {}), *operation["responses"].values()]:
            assert "anyOf" not in body_of(described).get("schema", {}), path


def test_what_may_be_left_out_of_a_request_is_optional_and_nothing_else() -> None:
    """A generator makes a field with a default a required one, and one that may be null a type of its own."""
    for _, path, operation in operations():
        for schema in parts(body_of(operation.get("requestBody", {})).get("schema")):
            assert "default" not in schema, path
            assert schema.get("type") != "null", path
    assert SCHEMAS["RerankRequest"]["required"] == ["query", "documents"]
    assert SCHEMAS["PairRequest"]["required"] == ["query", "passage"]


def test_every_number_and_every_choice_says_its_type() -> None:
    """Without them a generator of Java takes BigDecimal, and Object."""
    for schema in parts(list(SCHEMAS.values())):
        assert schema.get("format") == "double" or schema.get("type") != "number"
        assert schema.get("type") == "string" or "enum" not in schema


def test_operations_have_names_of_their_own_and_tags_that_are_described() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    tags = [operation["tags"] for _, _, operation in operations()]

    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert {(tag,) for tag in (tag["name"] for tag in DOCUMENT["tags"])} == {tuple(found) for found in tags}


def test_the_pages_begin_with_the_routes_that_people_look_for() -> None:
    open_tags = [tag["name"] for tag in DOCUMENT["tags"]][:2]
    shown = {f"{method} {path}" for method, path, operation in operations() if operation["tags"][0] in open_tags}

    assert shown == {
        *("post /v1/rerank", "post /rerank", "post /rerank/batch"),
        *("get /health", "get /readyz", "get /livez", "get /info", "get /metrics"),
    }


async def test_operations_that_need_a_key_are_described_as_such(serve: Serve, until_ready: Any) -> None:
    async with serve(lambda _: OverlapModel(), api_keys="secret") as client:
        await until_ready(client)
        for method, path, operation in operations():
            status = (await client.request(method.upper(), path)).status_code

            assert (status == 401) == ("security" in operation), path
            assert status != 401 or "401" in operation["responses"], path


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_every_shape_of_error_that_a_dialect_has_is_found(dialect: Dialect) -> None:
    assert {body for reply in error_replies(dialect) for body in reply.body} == set(dialect.errors)
