"""A model or a tokenizer that never comes back, seen from outside: nobody waits for it, and the process ends."""

import asyncio
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_core.testing.language_models import write_tiny_language_model

LIMITS = httpx.Limits(max_connections=100)


def body(*documents: str) -> dict[str, Any]:
    return {"query": "pandas", "documents": list(documents)}


async def until(client: httpx.AsyncClient, status: str) -> None:
    """Asks until readiness says so."""
    while (await client.get("/readyz")).json()["status"] != status:  # noqa: ASYNC110 (over HTTP there is no event)
        await asyncio.sleep(0.01)  # between two questions to another process


async def until_silent(client: httpx.AsyncClient) -> None:
    """Asks until nothing answers any more, as where no Python runs there."""
    with suppress(httpx.TransportError):
        while True:
            await client.get("/livez", timeout=0.5)


@pytest.mark.parametrize("word", ["hang", "ponder"])
async def test_a_stuck_thread_answers_everybody_says_so_and_ends_the_process(faulty: Any, word: str) -> None:
    with faulty(RERANK_STUCK_SECONDS="2") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS) as client:
            waiting = [asyncio.create_task(client.post("/v1/rerank", json=body(f"{word} {n}"))) for n in range(3)]
            await until(client, "stuck")
            metrics = (await client.get("/metrics")).text
            health, live = await client.get("/health"), await client.get("/livez")
            refused = await client.post("/v1/rerank", json=body("another"))
            answers = [await one for one in waiting]
        code = server.process.wait(timeout=60)
        log = server.log.read_text()

    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["code"] for answer in answers} == {"unavailable"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in [*answers, refused])
    assert (health.status_code, health.json()["status"], live.status_code) == (503, "stuck", 200)
    assert (refused.status_code, refused.json()["message"]) == (503, "the server is stuck: try again")
    assert float(re.findall(r"^rerank_batch_age_seconds (\S+)", metrics, re.MULTILINE)[0]) > 1
    assert "rerank_model_ready 0.0" in metrics
    assert code == 1
    assert "thread compute:" in log
    assert "thread tokenize:" in log
    assert log.count("stuck") >= 2


@pytest.mark.parametrize("place", ["query", "documents", "instruction"])
async def test_a_language_model_that_never_has_its_prompt_is_stuck_as_any_other(
    faulty: Any, tmp_path: Path, place: str
) -> None:
    """A prompt has a third text that may be the one."""
    directory = write_tiny_language_model(tmp_path / "qwen3")
    texts = {"query": "pandas", "documents": ["a bear"], "instruction": "Find bears."}
    texts[place] = ["ponder"] if place == "documents" else "ponder"
    with faulty(RERANK_STUCK_SECONDS="2", LANGUAGE_MODEL=str(directory)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            answered = await client.post("/v1/rerank", json=body("a bear"))
            waiting = [asyncio.create_task(client.post("/v1/rerank", json=one)) for one in (texts, body("another"))]
            await until(client, "stuck")
            live = await client.get("/livez")
            answers = [await one for one in waiting]
        code = server.process.wait(timeout=60)
        log = server.log.read_text()

    assert answered.status_code == 200
    assert [answer.status_code for answer in answers] == [503, 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert (live.status_code, code) == (200, 1)
    assert "thread tokenize:" in log
    assert "ponder" not in log


async def test_a_batch_that_ends_after_all_makes_the_server_ready_again(faulty: Any, tmp_path: Path) -> None:
    with faulty(RERANK_STUCK_SECONDS="3") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            held = asyncio.create_task(client.post("/v1/rerank", json=body("hold")))
            await until(client, "stuck")
            await asyncio.to_thread((tmp_path / "fifo").write_bytes, b"")
            await until(client, "healthy")
            answered = await client.post("/v1/rerank", json=body("another"))
            given_up = await held

    assert given_up.status_code == 503
    assert answered.status_code == 200
    assert server.process.returncode == 0


@pytest.mark.parametrize("told", [False, True], ids=["by itself", "by SIGTERM"])
async def test_a_model_that_holds_the_interpreter_ends_the_process_all_the_same(faulty: Any, *, told: bool) -> None:
    with faulty(RERANK_STUCK_SECONDS="3") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            waiting = asyncio.create_task(client.post("/v1/rerank", json=body("clutch")))
            await until_silent(client)
            if told:
                server.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(server.process.wait, 60)
            (failure,) = await asyncio.gather(waiting, return_exceptions=True)
        log = server.log.read_text()

    assert code == 1
    assert isinstance(failure, httpx.TransportError)
    assert "Timeout" in log
    assert "forward" in log


@pytest.mark.parametrize("word", ["hang", "ponder"])
async def test_a_stuck_server_ends_when_it_is_told_to(faulty: Any, word: str) -> None:
    with faulty(RERANK_STUCK_SECONDS="4", RERANK_DRAIN_SECONDS="60") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            waiting = asyncio.create_task(client.post("/v1/rerank", json=body(word)))
            await until(client, "stuck")
            server.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(server.process.wait, 30)
            answer = await waiting

    assert (answer.status_code, code) == (503, 0)


@pytest.mark.parametrize(("word", "error"), [("panic", "model_error"), ("exit", "engine_error")])
async def test_a_failure_that_is_no_exception_is_an_error_of_its_own_request(
    faulty: Any, word: str, error: str
) -> None:
    with faulty() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            failed = await client.post("/v1/rerank", json=body(f"{word} secret-text"))
            native = await client.post("/rerank", json={"query": "q", "passage": f"{word} secret-text"})
            answered = await client.post("/v1/rerank", json=body("another"))
            metrics = (await client.get("/metrics")).text
        log = server.log.read_text()

    assert (failed.status_code, failed.json()["code"]) == (500, error)
    assert native.status_code == 500
    assert native.json()["detail"]
    assert answered.status_code == 200
    assert "rerank_in_flight_pairs 0.0" in metrics
    assert "secret-text" not in log + failed.text + native.text
    assert "ASGI" not in log
