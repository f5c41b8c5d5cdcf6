"""What answers tell browsers that might misread or frame them."""

import pytest
from httpx import AsyncClient as Client

PAGES = [
    *("/docs", "/redoc", "/playground", "/openapi.json"),
    *("/static/playground.js", "/static/playground.css", "/static/swagger-ui-bundle.js", "/static/redoc.standalone.js"),
]


@pytest.mark.parametrize("path", [*PAGES, "/docs/", "/tei/docs"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_page_cannot_be_framed_and_tells_nobody_where_its_reader_was(
    client: Client, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_every_answer_is_to_be_taken_as_its_type_says(client: Client) -> None:
    for answer in (
        *[await client.get(path) for path in PAGES],
        await client.get("/"),
        await client.get("/metrics"),
        await client.get("/nowhere"),
        await client.get("/v1/rerank"),
        await client.options("/v1/rerank"),
        await client.options("/v1/rerank", headers={"Origin": "https://a.b", "Access-Control-Request-Method": "POST"}),
        await client.post("/v1/rerank", json={"query": "x", "documents": ["y"]}),
        await client.post("/v1/rerank", content=b"no JSON"),
        await client.post("/rerank", json={}),
    ):
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
