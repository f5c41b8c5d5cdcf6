"""The server from outside, while things go wrong."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}
LIMITS = httpx.Limits(max_connections=400)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    return tmp_path / "fifo"


def body(*documents: str, query: str = "pandas") -> dict[str, Any]:
    return {"query": query, "documents": list(documents)}


async def number(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


async def until(client: httpx.AsyncClient, name: str, wanted: Callable[[float], bool]) -> None:
    """Asks until a number is as it should be."""
    while not wanted(await number(client, name)):
        pass


async def release(fifo: Path) -> None:
    """Lets the model go on; waits until it is there."""
    await asyncio.to_thread(fifo.write_bytes, b"")


async def test_a_full_server_refuses_at_once_and_answers_health_while_it_computes(faulty: Any, fifo: Path) -> None:
    with faulty(RERANK_MAX_QUEUE_PAIRS="10", RERANK_MAX_DOCUMENTS="10") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS) as client:
            held = asyncio.create_task(client.post("/v1/rerank", json=body(*[f"hold {n}" for n in range(10)])))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 10)
            refused = await asyncio.gather(*[client.post("/v1/rerank", json=body(f"d {n}")) for n in range(50)])
            probes = [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/health")]
            waits = not held.done()
            await release(fifo)
            answered = await held
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert probes == [200, 200, 200]
    assert waits
    assert answered.status_code == 200


async def test_when_two_hundred_clients_leave_at_once_the_queue_is_empty_after_the_running_batch(
    faulty: Any, fifo: Path
) -> None:
    with faulty() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS) as staying:
            first = asyncio.create_task(staying.post("/v1/rerank", json=body("hold")))
            await until(staying, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            before = await number(staying, "rerank_batches_total")
            crowd = httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS)
            posts = [asyncio.create_task(crowd.post("/v1/rerank", json=body(f"d {n}", "x"))) for n in range(200)]
            await until(staying, "rerank_in_flight_pairs", lambda pairs: pairs == 401)
            for post in posts:
                post.cancel()
            await asyncio.gather(*posts, return_exceptions=True)
            await crowd.aclose()
            await until(staying, "rerank_queue_pairs", lambda pairs: pairs == 0)
            await until(staying, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            await release(fifo)
            answered = await first
            after = await staying.post("/v1/rerank", json=body("d"))
            batches = await number(staying, "rerank_batches_total") - before
    assert answered.status_code == after.status_code == 200
    assert batches == 2


async def test_a_poisonous_pair_fails_its_own_request_and_no_other(faulty: Any, fifo: Path) -> None:
    with faulty() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS) as client:
            first = asyncio.create_task(client.post("/v1/rerank", json=body("hold")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            good = [asyncio.create_task(client.post("/v1/rerank", json=body(f"d {n}"))) for n in range(20)]
            bad = asyncio.create_task(client.post("/v1/rerank", json=body("fine", "poison")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 23)
            await release(fifo)
            statuses = {(await one).status_code for one in [first, *good]}
            failed = await bad
        ready = (await asyncio.to_thread(httpx.get, f"{server.url}/readyz")).status_code
        log = server.log.read_text()
    assert statuses == {200}
    assert (failed.status_code, failed.json()["code"]) == (500, "engine_error")
    assert ready == 200
    assert "fine" not in log


async def test_a_network_that_is_lost_answers_everybody_and_ends_the_process(faulty: Any, fifo: Path) -> None:
    with faulty() as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=LIMITS) as client:
            first = asyncio.create_task(client.post("/v1/rerank", json=body("hold lost")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            others = [asyncio.create_task(client.post("/v1/rerank", json=body(f"d {n}"))) for n in range(10)]
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 11)
            await release(fifo)
            statuses = [(await one).status_code for one in [first, *others]]
        code = server.process.wait(timeout=30)
    assert statuses == [500] * 11
    assert code == 1


async def test_a_server_that_is_told_to_stop_takes_requests_while_it_says_so_and_drops_none(
    faulty: Any, fifo: Path
) -> None:
    with faulty(RERANK_PRESTOP_SECONDS="600") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            held = asyncio.create_task(client.post("/v1/rerank", json=body("hold")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            server.process.send_signal(signal.SIGTERM)
            while (await client.get("/readyz")).status_code == 200:
                pass
            taken = asyncio.create_task(client.post("/v1/rerank", json=body("d")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 2)
            await release(fifo)
            statuses = [(await held).status_code, (await taken).status_code]
            live = (await client.get("/livez")).status_code
        server.process.send_signal(signal.SIGTERM)  # the second one ends at once
        code = server.process.wait(timeout=30)
    assert statuses == [200, 200]
    assert live == 200
    assert code == 128 + signal.SIGTERM


async def test_what_is_not_done_in_time_when_draining_is_answered_503_and_the_process_ends_well(
    faulty: Any, fifo: Path
) -> None:
    with faulty(RERANK_DRAIN_SECONDS="0") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            held = asyncio.create_task(client.post("/v1/rerank", json=body("hold")))
            await until(client, "rerank_in_flight_pairs", lambda pairs: pairs == 1)
            server.process.send_signal(signal.SIGTERM)
            answered = await held
        code = server.process.wait(timeout=30)
        log = server.log.read_text()
    assert (answered.status_code, answered.json()["code"]) == (503, "unavailable")
    assert code == 0
    assert "Traceback" not in log


async def test_a_client_that_never_reads_its_answer_does_not_keep_the_process_from_ending(faulty: Any) -> None:
    content = json.dumps(body(*["x" * 99_000 for _ in range(90)]) | {"return_documents": True}).encode()
    head = f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    with faulty(RERANK_DRAIN_SECONDS="2") as server:
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]), limit=1024)
        writer.write(head.encode() + content)
        await writer.drain()
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            await until(client, "rerank_batches_total", lambda batches: batches > 1)  # the first is the warm-up
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, 30)
        writer.close()
    assert code == 0


async def test_idle_and_dripping_connections_hold_nobody_up_and_are_closed(faulty: Any) -> None:
    head = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with faulty(RERANK_RECEIVE_TIMEOUT="2") as server:
        port = int(server.url.rpartition(":")[2])
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in streams[50:]:
            writer.write(head)
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            statuses = [(await client.post("/rerank", json=PAIR)).status_code for _ in range(50)]

            async def drip(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> bytes:
                reading = asyncio.create_task(reader.read())
                while not reading.done():
                    writer.write(b" ")
                    await asyncio.wait({reading}, timeout=0.1)
                return await reading

            ends = await asyncio.gather(
                *[reader.read() for reader, _ in streams[:50]],
                *[drip(writer, reader) for reader, writer in streams[50:]],
            )
            statuses.append((await client.post("/rerank", json=PAIR)).status_code)
        for _, writer in streams:
            writer.close()
    assert set(statuses) == {200}
    assert ends[:50] == [b""] * 50
    assert all(end.startswith(b"HTTP/1.1 408") for end in ends[50:])


# As the table of poisonous inputs has them; each is followed by a request that has to be fine.
POISON: dict[str, tuple[bytes, str]] = {
    "invalid UTF-8": (b'{"query": "\xff\xfe", "passage": "x"}', "application/json"),
    "100,000 brackets": (b"[" * 100_000, "application/json"),
    "deep value in an unknown field": (
        b'{"query": "x", "passage": "y", "z": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "application/json",
    ),
    "lone surrogate": (b'{"query": "\\ud800", "passage": "x"}', "application/json"),
    "another content type": (json.dumps(PAIR).encode(), "text/plain"),
    "a form": (b"query=x&passage=y", "application/x-www-form-urlencoded"),
    "empty": (b"", "application/json"),
    "NaN": (b'{"query": "x", "passage": "y", "normalize": NaN}', "application/json"),
    "1e400": (b'{"query": "x", "passage": 1e400}', "application/json"),
    "5,000 digits": (b'{"query": "x", "passage": ' + b"9" * 5000 + b"}", "application/json"),
    "truncated": (b'{"query": "x", "pass', "application/json"),
    "wrong type": (b'{"query": ["x"], "passage": {"y": 1}}', "application/json"),
    "not an object": (b"7", "application/json"),
    "gzip": (b"\x1f\x8b\x08\x00\x00", "application/json"),
    "too large": (b'{"query": "' + b"x" * 10_000_001 + b'"}', "application/json"),
}


@pytest.mark.parametrize("path", ["/rerank", "/rerank/batch", "/v1/rerank"])
@pytest.mark.parametrize("name", POISON)
def test_a_malformed_request_is_a_4xx_and_the_next_one_is_fine(tiny_server: Any, path: str, name: str) -> None:
    content, content_type = POISON[name]

    refused = httpx.post(tiny_server.url + path, content=content, headers={"Content-Type": content_type}, timeout=30)
    fine = httpx.post(f"{tiny_server.url}/rerank", json=PAIR, timeout=30)

    assert 400 <= refused.status_code < 500
    assert isinstance(refused.json(), dict)
    assert fine.status_code == 200


def test_a_nul_character_is_text(tiny_server: Any) -> None:
    assert httpx.post(f"{tiny_server.url}/rerank", json=PAIR | {"query": "a\x00b"}).status_code == 200


def test_a_body_without_end_is_refused_at_its_limit(tiny_server: Any) -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield b" " * 65536

    try:
        status = httpx.post(f"{tiny_server.url}/rerank", content=chunks(), timeout=30).status_code
    except httpx.WriteError:  # answered and closed before it was all sent, which it would never be
        status = 413
    assert status == 413
    assert httpx.post(f"{tiny_server.url}/rerank", json=PAIR).status_code == 200


def test_it_listens_on_a_unix_socket(faulty: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with faulty(uds=path) as server, httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.post(f"{server.url}/rerank", json=PAIR).status_code == 200


def test_no_key_and_no_text_is_in_the_log(faulty: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("key-of-the-file\n")
    with faulty(
        RERANK_API_KEYS="key-of-the-environment", RERANK_API_KEYS_FILE=str(keys), RERANK_LOG_LEVEL="debug"
    ) as server:
        for key in ("key-of-the-environment", "key-of-the-file", "a-wrong-key"):
            headers = {"Authorization": f"Bearer {key}"}
            for text in ("some-secret-text", "poison"):
                httpx.post(f"{server.url}/v1/rerank?q=in-the-url", json=body(text, query=text), headers=headers)
        log = server.log.read_text()
    assert log.count("POST /v1/rerank 200") == 2
    for secret in ("key-of-the", "a-wrong-key", "some-secret", "in-the-url"):
        assert secret not in log


def test_a_log_in_json_is_one_object_a_line(faulty: Any) -> None:
    with faulty(RERANK_LOG_FORMAT="json") as server:
        httpx.post(f"{server.url}/rerank", json=PAIR, headers={"X-Request-ID": "mine"})
    # The line comes after the answer: once the server has ended it is there.
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("id") == "mine"]
    assert (line["status"], line["pairs"], line["route"]) == (200, 1, "/rerank")


def test_a_missing_key_file_ends_the_process_with_the_reason(tmp_path: Path) -> None:
    environment = os.environ | {"RERANK_API_KEYS_FILE": str(tmp_path / "none"), "MODEL_NAME": "lite", "PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", "rerank_server"], env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert "RERANK_API_KEYS_FILE cannot be read" in ended.stderr
    assert "Traceback" not in ended.stderr
