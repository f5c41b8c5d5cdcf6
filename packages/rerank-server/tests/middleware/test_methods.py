"""405 and OPTIONS say which methods a path takes."""

import pytest
from rerank_server.dialects.routing import ROUTES

LOOK, SCORE, BOTH = "GET, HEAD, OPTIONS", "OPTIONS, POST", "GET, HEAD, OPTIONS, POST"
PATHS = {
    "/health": LOOK,
    "/metrics": LOOK,
    "/playground": LOOK,
    "/static/playground.js": LOOK,
    "/v1/models": LOOK,
    "/v1/models/some/name": LOOK,
    "/v1/rerank": SCORE,
    "/v1/rerank/": SCORE,
    "//v1//rerank": SCORE,
    "/rerank/batch": SCORE,
    "/": BOTH,
    "/invocations": SCORE,
    "/tei": BOTH,
    "/tei/": BOTH,
    "/tei/info": LOOK,
    "/tei/v1/models/name": LOOK,
    "/tei/rerank": SCORE,
    "/cohere": LOOK,
    "/vllm/v1/score": SCORE,
}


@pytest.fixture(params=["", "/ranking"])
async def asked(request, shared):
    """Asks a server, also one below a prefix of an ingress."""
    client, _ = await shared(root_path=request.param)
    return lambda method, path: client.request(method, f"http://server{request.param}{path}")


@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_a_path_does_not_take_is_405_with_those_that_it_does(asked, path: str) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - set(PATHS[path].split(", ")):
        answer = await asked(method, path)

        assert (answer.status_code, answer.headers["Allow"]) == (405, PATHS[path]), method


@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_is_allowed_is_no_405(asked, path: str) -> None:
    for method in PATHS[path].split(", "):
        assert (await asked(method, path)).status_code not in (404, 405) or path == "/v1/models/some/name", method


@pytest.mark.parametrize("path", PATHS)
async def test_options_are_answered_with_the_methods(asked, path: str) -> None:
    answer = await asked("OPTIONS", path)

    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, PATHS[path], b"")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "TRACE"])
@pytest.mark.parametrize("path", ["/nowhere", "/tei/nowhere", "/nim/v1/rerank", "/cohere/tei/info", "/static/nothing"])
async def test_a_path_that_does_not_exist_is_404_for_every_method(asked, method: str, path: str) -> None:
    answer = await asked(method, path)

    assert answer.status_code == 404
    assert "Allow" not in answer.headers


async def test_every_route_that_scores_allows_post(asked) -> None:
    for route in ROUTES:
        assert "POST" in (await asked("OPTIONS", route.path)).headers["Allow"].split(", ")
