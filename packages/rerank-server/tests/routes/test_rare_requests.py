"""Requests that clients seldom send, and answers before the model is there."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_server.routes.replies import unrouted_body
from rerank_server.settings import Settings

Serve = Callable[..., AbstractAsyncContextManager[Client]]
Ready = Callable[..., Awaitable[None]]

DOCUMENTS = {"query": "where do pandas live", "documents": ["pandas live in China", "a train to Paris"]}


async def test_a_batch_in_another_dialect_is_told_which_field_is_missing(client: Client) -> None:
    answer = await client.post("/rerank/batch", json=DOCUMENTS)

    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", "pairs"]]


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null"])
@pytest.mark.parametrize("path", ["/rerank", "/rerank/batch", "/v1/rerank", "/tei/rerank", "/score", "/v1/ranking"])
async def test_a_body_that_is_no_object_is_refused(client: Client, path: str, body: str) -> None:
    answer = await client.post(path, content=body)

    assert 400 <= answer.status_code < 500


async def test_a_body_that_turns_out_too_large_is_refused_though_its_length_was_not_announced(
    serve: Serve, until_ready: Ready
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 500

    async with serve(lambda _: OverlapModel(), max_body_bytes=1000) as client:
        await until_ready(client)
        answer = await client.post("/v1/rerank", content=pieces())

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_empty_part_behind_a_complete_body_is_not_the_end_of_the_connection(client: Client) -> None:
    """An ASGI server may send one."""
    parts = [{"type": "http.request", "body": json.dumps(DOCUMENTS).encode()}, {"type": "http.request"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0) if parts else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/rerank", "raw_path": b"/v1/rerank", "query_string": b""}
    await client._transport.app(scope | {"headers": [], "scheme": "http"}, receive, send)  # type: ignore[attr-defined]

    assert parts == []
    assert sent[0]["status"] == 200


async def test_the_model_is_listed_while_it_loads_with_an_empty_queue(serve: Serve) -> None:
    may_load = threading.Event()

    def load(_: Settings) -> OverlapModel:
        may_load.wait()
        return OverlapModel()

    async with serve(load, model="some/model") as client:
        (listed,) = (await client.get("/v1/models")).json()["data"]
        may_load.set()

    assert listed["id"] == "some/model"
    assert listed["stats"] == {"queue_absolute": 0, "queue_fraction": 0.0}


def test_an_error_of_the_framework_below_a_prefix_has_its_own_words_in_the_dialect() -> None:
    body = json.loads(unrouted_body("/tei/rerank", 431))

    assert body["error"] == "Request Header Fields Too Large"


async def test_a_document_that_can_be_read_and_is_too_deep_to_be_written_is_a_broken_body(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How deep that is depends on the version of Python."""

    def too_deep(_: object) -> str:
        raise RecursionError

    monkeypatch.setattr("rerank_server.dialects.fields._json", too_deep)
    answer = await client.post("/v1/rerank", json={"query": "q", "documents": [{"a": {}}], "rank_fields": ["a"]})

    assert (answer.status_code, answer.json()["message"]) == (400, "the JSON is nested too deeply")
