"""Below a prefix every error has the shape that the clients of that server read, whoever finds it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from httpx import Response
from rerank_core.errors import EngineError
from rerank_core.testing.doubles import OverlapModel
from rerank_server.dialects.routing import PREFIXES, fallback_dialect

Serve = Callable[..., AbstractAsyncContextManager[Client]]
Ready = Callable[..., Awaitable[None]]

OPENAI = {"message", "type", "param", "code"}
COMMON = {"id", "message", "detail", "code", "error"}
DETAIL = {"detail"}
SHAPES: dict[str, Callable[[Any, int], bool]] = {
    "/cohere": lambda body, _: body.keys() == {"id", "message"},
    "/jina": lambda body, _: body.keys() == DETAIL and isinstance(body["detail"], str),
    "/siliconflow": lambda body, _: body.keys() == DETAIL and isinstance(body["detail"], str),
    "/voyage": lambda body, _: body.keys() == DETAIL and isinstance(body["detail"], str),
    "/xinference": lambda body, _: body.keys() == DETAIL and isinstance(body["detail"], str),
    "/tei": lambda body, _: body.keys() == {"error", "error_type"} and isinstance(body["error"], str),
    "/vllm": lambda body, status: body["error"].keys() == OPENAI and body["error"]["code"] == status,
    "/llamacpp": lambda body, status: (
        body["error"].keys() == {"code", "message", "type"} and body["error"]["code"] == status
    ),
    "/infinity": lambda body, status: {
        422: lambda: isinstance(body["detail"], list) and body["detail"][0].keys() == {"loc", "msg", "type"},
        401: lambda: body.keys() == DETAIL and isinstance(body["detail"], str),
    }.get(status, lambda: body["error"].keys() == OPENAI)(),
    "/nim": lambda body, _: body.keys() == COMMON and body["error"].keys() == OPENAI,
}
TEXTS = ["Paris is a city", "pandas live in China"]
BODIES: dict[str, Any] = {
    "/tei": {"query": "pandas", "texts": TEXTS},
    "/nim": {"query": {"text": "pandas"}, "passages": [{"text": text} for text in TEXTS]},
}


def path_of(prefix: str) -> str:
    return prefix + next(iter(PREFIXES[prefix]))


def body_of(prefix: str) -> dict[str, Any]:
    return BODIES.get(prefix, {"query": "pandas", "documents": TEXTS})


def one_text(prefix: str) -> dict[str, Any]:
    """A failed batch of several is tried again one by one, and of one text not."""
    return {key: value[:1] if isinstance(value, list) else value for key, value in body_of(prefix).items()}


async def post_and_fail(client: Client, model: OverlapModel, prefix: str, error: Exception) -> Response:
    """Post one text and let its forward pass fail.

    A good request goes first: after three failed batches in a row the server computes a probe batch, and the probe
    would take the failure that is meant for the request.
    """
    assert (await client.post(path_of(prefix), json=one_text(prefix))).status_code == 200
    model.fail_next = error
    return await client.post(path_of(prefix), json=one_text(prefix))


def assert_shape(prefix: str, response: Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert SHAPES[prefix](response.json(), status), response.text


def test_every_prefix_is_tried_here() -> None:
    assert PREFIXES.keys() == SHAPES.keys()


@pytest.fixture
async def strict(shared) -> Client:
    return (await shared(max_documents=4, max_queue_pairs=4, max_body_bytes=1000))[0]


@pytest.mark.parametrize("prefix", SHAPES)
async def test_an_unknown_path_is_404_and_names_the_paths_that_score(client: Client, prefix: str) -> None:
    for path in ("/embed", "/predict", "/tokenize", "/v1/embeddings", "/a/b/c?d=e", "//classify//", "/rerank/batch"):
        for method in ("POST", "GET", "DELETE", "PUT", "PATCH"):
            response = await client.request(method, prefix + path)
            if response.status_code == 405:  # GET /rerank/batch is there without its prefix
                continue
            assert_shape(prefix, response, 404)
            assert path_of(prefix) in response.text
            assert "embed" not in response.text, "what was asked for is not repeated"


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_wrong_method_is_405(client: Client, prefix: str) -> None:
    for path in (path_of(prefix), f"{path_of(prefix)}/", "http://server" + path_of(prefix).replace("/", "//")):
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            assert_shape(prefix, await client.request(method, path), 405)
        head = await client.head(path)
        assert (head.status_code, head.headers["content-type"]) == (405, "application/json")


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_method_that_what_may_be_looked_at_does_not_take_is_405(client: Client, prefix: str) -> None:
    for path in ("/info", "/health", "/v1/models"):
        assert (await client.get(prefix + path)).status_code == 200
        response = await client.post(prefix + path, json={})
        assert response.status_code in (404, 405)
        assert SHAPES[prefix](response.json(), response.status_code)


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_key_is_asked_for_in_the_dialect(shared, prefix: str) -> None:
    client, _ = await shared(api_keys="secret")
    for path in (path_of(prefix), f"http://server/{path_of(prefix)}/"):
        assert_shape(prefix, await client.post(path, json=body_of(prefix)), 401)
    for path in ("/info", "//v1/models", "/models/"):
        assert_shape(prefix, await client.get(prefix + path), 401)


@pytest.mark.parametrize("prefix", SHAPES)
async def test_sizes_and_syntax_are_refused_in_the_dialect(strict: Client, prefix: str) -> None:
    path, body = path_of(prefix), body_of(prefix)
    many = {key: value * 3 if isinstance(value, list) else value for key, value in body.items()}
    of_fields = {"/infinity": 422, "/tei": 422}.get(prefix, 400)

    assert_shape(prefix, await strict.post(path, json=many), {"/tei": 422, "/voyage": 400}.get(prefix, 413))
    assert_shape(prefix, await strict.post(path, content=b"x" * 1001), 413)
    for content in (b"", b"{", b"\xff", b"[" * 500):
        response = await strict.post(path, content=content, headers={"content-type": "application/json"})
        assert_shape(prefix, response, 422 if prefix == "/infinity" else 400)
    for wrong in ([], 7, {}, {"query": "pandas"}, body | {"query": 7}):
        assert_shape(prefix, await strict.post(path, json=wrong), of_fields)
    response = await strict.post(path, json=body, headers={"X-Request-Timeout": "soon"})
    assert_shape(prefix, response, 400)


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_failing_model_is_told_in_the_dialect(client: Client, model: OverlapModel, prefix: str) -> None:
    response = await post_and_fail(client, model, prefix, EngineError("the network failed"))

    assert_shape(prefix, response, 424 if prefix == "/tei" else 500)


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_bug_of_ours_is_told_in_the_dialect(client: Client, model: OverlapModel, prefix: str) -> None:
    response = await post_and_fail(client, model, prefix, RuntimeError("a bug"))

    assert_shape(prefix, response, 424 if prefix == "/tei" else 500)


@pytest.mark.parametrize("prefix", SHAPES)
async def test_a_server_that_is_full_late_or_loading_says_so_in_the_dialect(
    serve: Serve, until_ready: Ready, prefix: str
) -> None:
    model, path, body = OverlapModel(), path_of(prefix), body_of(prefix)
    model.gate.clear()
    async with serve(lambda _: model, max_documents=3, max_queue_pairs=3) as client:
        loading = await client.post(path, json=body)
        model.gate.set()
        await until_ready(client, model)
        model.gate.clear()
        inside = asyncio.create_task(client.post("/v1/rerank", json={"query": "a", "documents": ["b", "c"]}))
        await asyncio.to_thread(model.started.wait)
        full = await client.post(path, json=body)
        late = await client.post("/rerank", json={"query": "d", "passage": "e"}, headers={"X-Request-Timeout": "0.01"})
        model.gate.set()
        await inside

    assert late.status_code == 504
    assert_shape(prefix, full, 429)
    assert_shape(prefix, loading, 503)
    assert int(full.headers["Retry-After"]) >= 1
    assert int(loading.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("prefix", SHAPES)
async def test_it_is_so_below_a_root_path_too(shared, prefix: str) -> None:
    client, _ = await shared(root_path="/team/rerank", api_keys="secret")
    headers = {"Authorization": "Bearer secret"}
    for root in ("/team/rerank", ""):
        assert_shape(prefix, await client.post(f"{root}{prefix}/embed", json={}, headers=headers), 404)
        assert_shape(prefix, await client.get(f"{root}{path_of(prefix)}", headers=headers), 405)
        assert_shape(prefix, await client.get(f"{root}{prefix}/info"), 401)


@pytest.mark.parametrize("path", ["/vllm/v1/models", "//vllm/v1/models", "//vllm//v1//models/", "/vllm//v1/models"])
async def test_what_may_be_looked_at_is_found_however_many_slashes_there_are(client: Client, path: str) -> None:
    answer = await client.get(f"http://server{path}")

    assert answer.status_code == 200
    assert answer.json()["data"][0]["owned_by"] == "vllm"


async def test_what_only_looks_like_a_prefix_is_none(client: Client) -> None:
    for path in ("/vllmx/rerank", "/x/vllm/rerank", "/VLLM/rerank", "/vllm%2Frerank/x"):
        response = await client.post(path, json={})
        assert response.status_code == 404, path
    assert (await client.post("/vllmx/rerank")).json() == {"detail": "Not Found"}


def test_the_dialect_of_a_path_does_not_depend_on_its_slashes() -> None:
    for path in ("/vllm/score", "/vllm/score/", "//vllm//score", "/vllm/embed", "/vllm", "/vllm/"):
        assert fallback_dialect(path).error is fallback_dialect("/vllm/rerank").error
    for path in ("", "/", "//", "/nowhere", "/rerank/batch"):
        assert fallback_dialect(path).name in {"pairs", "documents"}
