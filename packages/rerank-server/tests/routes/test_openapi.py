"""The OpenAPI document is true, whole and valid."""

from typing import Any

import jsonschema
import pytest
from httpx import AsyncClient as Client
from openapi_spec_validator import validate
from rerank_core.testing.doubles import OverlapModel
from rerank_server.app import create_app
from rerank_server.routes.openapi import openapi_document
from rerank_server.settings import Settings

DOCUMENT = openapi_document()
# Pages for people, and the document itself.
UNDOCUMENTED = {"/docs", "/redoc", "/openapi.json", "/playground", "/static"}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, found) for path, methods in DOCUMENT["paths"].items() for method, found in methods.items()]


def errors_of(schema: dict[str, Any], value: object) -> list[str]:
    whole = schema | {"components": DOCUMENT["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


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
            examples = [example["value"] for example in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                assert errors_of(content["schema"], example) == []


@pytest.mark.parametrize(("method", "path", "operation"), operations(), ids=lambda value: str(value)[:30])
async def test_every_example_is_answered_as_described(
    client: Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    bodies = [example["value"] for example in content.get("examples", {}).values()] or [None]
    for body in bodies:
        response = await client.request(method.upper(), path, json=body)
        assert response.status_code == 200
        described = operation["responses"]["200"].get("content")
        if described and "application/json" in described:
            assert errors_of(described["application/json"]["schema"], response.json()) == []


def test_every_field_of_a_request_is_described() -> None:
    for name in ("PairRequest", "BatchRequest", "RerankRequest"):
        for field, schema in DOCUMENT["components"]["schemas"][name]["properties"].items():
            assert schema.get("description") or field in {"pairs"}, f"{name}.{field}"
