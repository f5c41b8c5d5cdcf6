"""A fuzzer of HTTP itself: damaged requests are answered in good order, and cost the server nothing.

A request of every route is made, bytes of it are changed, and it is sent in pieces. Each answer must be well-formed
HTTP and no 5xx but 503 and 504, the log must hold no traceback, and memory must stay flat. Each case is made from the
seed and its number, so that a failure can be run again: FUZZ_SEED=... FUZZ_CASE=...
"""

import contextlib
import gzip
import http.client
import io
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from rerank_server.dialects.routing import ROUTES

AT_ONCE = 24  # connections: most of the time they wait for a request that never gets complete

RECEIVE_TIMEOUT = 0.5  # seconds, after which such a request is given up
KEEP_ALIVE = 5  # seconds: a damaged length may eat the last request, and leave a connection that waits in good order
GROWTH = 60.0  # MB that the process may gain between a third of the run and its end

PAGES = ("/", "/health", "/livez", "/readyz", "/info", "/metrics", "/v1/models", "/docs", "/openapi.json", "/nowhere")
TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b"\r\n\r\n", b"\r\n\r\n\r\n", b"0\r\n\r\n",
    b"ffffffffffffffff\r\n", b"-1", b"99999999999999999999", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Type: text/xml\r\n", b"Host: a\r\nHost: b\r\n", b"Origin: null\r\n",
    b"Authorization: Bearer \xff\r\n", b"X-Request-Timeout: nan\r\n", b"X-Request-ID: " + b"a" * 300 + b"\r\n",
    b"traceparent: 00-x\r\n", b"GET ", b"POST ", b"OPTIONS ", b"DELETE ", b"TRACE ", b"[" * 300, b"{", b"}", b'"',
    b"\\u0000", b"\\ud800", b"null", b"1e999", b"NaN", b"-", b"\xef\xbb\xbf", b"\xff\xfe", b"%00", b"..",
)  # fmt: skip


def template(dice: random.Random) -> bytes:
    """A request that is right."""
    if dice.random() < 0.25:
        return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % dice.choice(PAGES).encode()
    route = dice.choice(ROUTES)
    body = json.dumps(dict(dice.choice(route.dialects).example)).encode()
    headers = [b"Host: x", b"Content-Type: application/json"]
    match dice.randrange(6):
        case 0:
            body = gzip.compress(body, mtime=0)
            headers += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
        case 1 | 2:
            middle = dice.randrange(1, len(body))
            pieces = [body[:middle], body[middle:], b""]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            headers.append(b"Transfer-Encoding: chunked")
        case _:
            headers.append(b"Content-Length: %d" % len(body))
    if dice.random() < 0.1:
        headers.append(dice.choice((b"Expect: 100-continue", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c")))
    return b"POST %s HTTP/1.1\r\n%s\r\n\r\n%s" % (route.path.encode(), b"\r\n".join(headers), body)


def damage(dice: random.Random, request: bytes) -> bytes:
    """The request with some of its bytes changed."""
    changed = bytearray(request)
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        place = dice.randrange(len(changed) + 1)
        match dice.randrange(6):
            case 0:
                changed[place:place] = dice.choice(TOKENS)
            case 1:
                del changed[place : place + dice.randint(1, 20)]
            case 2:
                changed[place:place] = changed[dice.randrange(len(changed) + 1) :][: dice.randint(1, 40)]
            case 3:
                changed[place : place + 1] = bytes([dice.randrange(256)])
            case 4:
                changed[place : place + len(b"12")] = dice.choice(TOKENS)
            case _:
                lines = bytes(changed).split(b"\r\n")
                lines.insert(dice.randrange(len(lines) + 1), dice.choice(TOKENS).strip() or b"x: y")
                changed = bytearray(b"\r\n".join(lines))
    return bytes(changed)


def exchange(dice: random.Random, address: tuple[str, int]) -> tuple[bytes, bytes]:
    """What was sent on one connection, in pieces, and all that came back."""
    sent = b"".join(damage(dice, template(dice)) for _ in range(dice.choice((1, 1, 1, 2, 4))))
    sent += b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"  # so that a connection in good order ends
    cuts = sorted(dice.randrange(len(sent)) for _ in range(dice.choice((0, 0, 1, 3))))
    received = bytearray()
    with socket.create_connection(address, timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # the server has seen enough
            for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                connection.sendall(sent[start:end])
            if dice.random() < 0.1:
                return sent, b""  # the client leaves, and reads nothing
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65_536):
                received += piece
    return sent, bytes(received)


def statuses(received: bytes) -> Iterator[int]:
    """The status of each answer. Raises ``http.client.HTTPException`` for what is no HTTP."""
    stream = _Bytes(received)
    while stream.left():
        response = http.client.HTTPResponse(cast("socket.socket", stream))
        response.begin()
        response.read()
        yield response.status


class _Bytes:
    """Looks like a socket to ``HTTPResponse``, which closes the file that it reads after each answer."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)
        self._file.close = lambda: None  # type: ignore[method-assign]

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._file

    def left(self) -> bool:
        return self._file.tell() < len(self._file.getvalue())


def run_case(seed: int, number: int, address: tuple[str, int]) -> None:
    again = f"run it again with FUZZ_SEED={seed} FUZZ_CASE={number}"
    try:
        sent, received = exchange(random.Random(f"{seed} {number}"), address)
    except TimeoutError as error:
        raise AssertionError(f"no answer, and no end of the connection; {again}") from error
    try:
        found = list(statuses(received))
    except (http.client.HTTPException, ValueError) as error:
        raise AssertionError(f"no HTTP ({error!r}); {again}\nsent: {sent!r}\nreceived: {received!r}") from error
    wrong = [status for status in found if status >= 500 and status not in (503, 504)]
    assert not wrong, f"{wrong}; {again}\nsent: {sent!r}\nreceived: {received!r}"


def run(seed: int, seconds: float, address: tuple[str, int]) -> Iterator[int]:
    """Run cases for so long, and say now and then how many."""
    end, numbers, done = time.monotonic() + seconds, count(), 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while time.monotonic() < end or not done:
            for case in [threads.submit(run_case, seed, next(numbers), address) for _ in range(8 * AT_ONCE)]:
                case.result()
            done += 8 * AT_ONCE
            yield done


def megabytes(process: int) -> float:
    """Memory of its own that a process holds."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="SKIPPED LOUDLY: memory is read from /proc")
def test_damaged_requests_are_answered_in_good_order_and_leave_nothing_behind(
    serving: Callable[..., Any], tiny: Path, fuzzing: Any, report: Callable[[str], None]
) -> None:
    settings = {
        "RERANK_RECEIVE_TIMEOUT": str(RECEIVE_TIMEOUT), "RERANK_KEEP_ALIVE_SECONDS": str(KEEP_ALIVE),
        "RERANK_MAX_BODY_BYTES": "20000", "RERANK_MAX_DOCUMENTS": "50",
        "RERANK_MAX_TEXT_CHARS": "5000", "CORS_ORIGINS": "https://app.example",
    }  # fmt: skip
    with serving(tiny, **settings) as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        if fuzzing.case is not None:
            run_case(fuzzing.seed, fuzzing.case, address)
        else:
            held = []
            for done in run(fuzzing.seed, fuzzing.seconds, address):
                held.append((done, megabytes(server.process.pid)))
            first, last = held[len(held) // 3], held[-1]
            report(f"{done} connections with FUZZ_SEED={fuzzing.seed}, memory {first[1]:.0f} to {last[1]:.0f} MB")
            assert last[1] - first[1] < GROWTH, f"the server grew: {first} to {last} (connections, MB)"

        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        gauges = dict(line.rpartition(" ")[::2] for line in httpx.get(f"{server.url}/metrics").text.splitlines())
        assert float(gauges["rerank_in_flight_pairs"]) == 0
        assert server.process.poll() is None
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", b"hello\r\n\r\n"])
def test_a_server_that_fails_is_noticed(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        serving = thread.submit(serve)
        with pytest.raises(AssertionError, match="FUZZ_CASE"):
            run_case(0, 1, listener.getsockname())
        serving.result()
