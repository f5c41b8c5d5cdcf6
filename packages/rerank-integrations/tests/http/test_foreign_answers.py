"""Answers that no rerank-server gives: each is an error of ours, soon, and with bounded memory and words."""

import asyncio
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any

import pytest
from rerank_core.errors import ModelError, RerankError, Unavailable
from rerank_core.types import Scores
from rerank_integrations.client import HTTPScorer

INFO = json.dumps({"model_id": "m", "max_client_batch_size": 10, "max_body_bytes": 10**6}).encode()
USAGE = {"total_tokens": 1, "truncated": 0}
LOGIN = b"<!doctype html><html><title>Sign in</title>" + b"x" * 10_000

Ask = Callable[[HTTPScorer], Scores]


def scores(*results: Any, model: Any = "m", usage: Any = USAGE) -> bytes:
    return json.dumps({"model": model, "usage": usage, "results": list(results)}).encode()


def answer(content: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(content), b"Content-Type: application/json", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def forever(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield piece


@cache
def bomb(compress: Callable[[bytes], bytes]) -> bytes:
    return compress(b"z" * 300_000_000)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"
SPANS = {"relevant_spans": [{"start": 0, "end": 1}]}
INFINITE = {"total_tokens": 1e999, "truncated": 0}
DEEP = b"[" * 200_000
ANSWERS: dict[str, Any] = {
    "deep list": answer(DEEP),
    "deep object": answer(b'{"a":' * 200_000),
    "deep error": answer(DEEP, status=b"400 Bad Request"),
    "deep unavailable": answer(DEEP, status=b"500 No"),
    "a bomb in gzip": lambda: iter([answer(bomb(gzip.compress), b"Content-Encoding: gzip")]),
    "a bomb in deflate": lambda: iter([answer(bomb(zlib.compress), b"Content-Encoding: deflate")]),
    "brotli": answer(b"abc", b"Content-Encoding: br"),
    "zstd": answer(b"abc", b"Content-Encoding: zstd"),
    "two codings": answer(b"abc", b"Content-Encoding: gzip, gzip"),
    "a bomb in an error": lambda: iter(
        [answer(bomb(gzip.compress), b"Content-Encoding: gzip", status=b"404 Not Found")]
    ),
    "an endless body": lambda: forever(HEAD + b"Content-Length: 99999999999999\r\n\r\n", b" " * 65536),
    "endless chunks": lambda: forever(HEAD + CHUNKED + b"\r\n", CHUNK),
    "an endless error": lambda: forever(b"HTTP/1.1 404 No\r\n" + CHUNKED + b"\r\n", CHUNK),
    "endless headers": lambda: forever(HEAD, b"a: b\r\n" * 1000),
    "an endless header": lambda: forever(HEAD + b"a: ", b"b" * 65536),
    "an endless status line": lambda: forever(b"HTTP/1.1 200 ", b"b" * 65536),
    "a million headers": HEAD + b"a: b\r\n" * 1_000_000 + b"\r\n",
    "an endless chunk extension": lambda: forever(HEAD + CHUNKED + b"\r\n1;", b"a" * 65536),
    "endless trailers": lambda: forever(HEAD + CHUNKED + b"\r\n0\r\n", b"a: b\r\n" * 1000),
    "a login page": answer(LOGIN, b"Content-Type: text/html"),
    "not JSON": answer(b"\xff\xfe\x00"),
    "NaN": answer(scores({"index": 0, "relevance_score": float("nan")})),
    "Infinity": answer(scores({"index": 0, "relevance_score": float("inf")})),
    "a raw score that is infinite": answer(scores({"index": 0, "relevance_score": 1.0, "raw_score": float("-inf")})),
    "a raw score in words": answer(scores({"index": 0, "relevance_score": 1.0, "raw_score": "1"})),
    "a huge integer": answer(scores({"index": 0, "relevance_score": 10**4000})),
    "an integer of many digits": answer(b'{"model": ' + b"1" * 100_000 + b"}"),
    "a huge index": answer(scores({"index": 10**4000, "relevance_score": 1})),
    "a score in words": answer(scores({"index": 0, "relevance_score": "0.5"})),
    "a list for a score": answer(scores({"index": 0, "relevance_score": [0.5]})),
    "a list for an index": answer(scores({"index": [0], "relevance_score": 0.5, **SPANS})),
    "two scores": answer(scores(*[{"index": 0, "relevance_score": 0.5}] * 2)),
    "another index": answer(scores({"index": 1, "relevance_score": 0.5})),
    "no scores": answer(scores()),
    "results that are no objects": answer(scores(1, "a", None)),
    "results in a string": answer(json.dumps({"model": "m", "usage": USAGE, "results": "abc"}).encode()),
    "spans that are none": answer(scores({"index": 0, "relevance_score": 0.5, "relevant_spans": 5})),
    "a span in words": answer(
        scores({"index": 0, "relevance_score": 0.5, "relevant_spans": [{"start": "0", "end": "1"}]})
    ),
    "a span of nothing": answer(
        scores({"index": 0, "relevance_score": 0.5, "relevant_spans": [{"start": -5, "end": -9}]})
    ),
    **{
        f"a sentence's score of {number!r}": answer(
            scores({"index": 0, "relevance_score": 0.5, "sentences": [{"start": 0, "end": 1, "score": number}]})
        )
        for number in (float("nan"), float("inf"), True, "0.5")
    },
    "no usage": answer(scores({"index": 0, "relevance_score": 0.5}, usage=None)),
    "infinite usage": answer(scores({"index": 0, "relevance_score": 0.5}, usage=INFINITE)),
    "no model": answer(scores({"index": 0, "relevance_score": 0.5}, model={"a": "b" * 10**5})),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "a redirect": answer(b"", b"Location: http://127.0.0.1:1/v1/rerank", status=b"307 Temporary Redirect"),
    "only 103": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/0.9": b"hello\r\n" * 100,
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n" + b"\x00" * 500,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200",
    "half a body": HEAD + b"Content-Length: 100\r\n\r\n{",
    "a length that is none": HEAD + b"Content-Length: many\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "header bytes": HEAD + b"a: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "an error of many words": answer(
        json.dumps({"code": "invalid_request", "message": "m\ud800\x1b[31m" * 9999}).encode(), status=b"400 No"
    ),
    "an error of other words": answer(json.dumps({"detail": "d" * 10**5}).encode(), status=b"422 No"),
    "a code of many letters": answer(json.dumps({"code": "c" * 10**5, "message": "m"}).encode(), status=b"400 No"),
}  # fmt: skip


@pytest.fixture
def serve() -> Iterator[Callable[[Any, Any], str]]:
    """Starts a server that answers ``GET`` with the first of two, ``POST`` with the second, and closes."""
    with ExitStack() as stack:

        def start(info: Any, rerank: Any) -> str:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
            ended = threading.Event()

            def reply(connection: socket.socket) -> None:
                with connection, suppress(OSError):
                    connection.settimeout(20)
                    head = connection.recv(65536)
                    said = info if head.startswith(b"GET") else rerank
                    for piece in said() if callable(said) else [said]:
                        connection.sendall(piece)
                        if ended.is_set():
                            return
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

            def accept() -> None:
                with suppress(OSError):
                    while True:
                        threads.append(threading.Thread(target=reply, args=(server.accept()[0],)))
                        threads[-1].start()

            threads: list[threading.Thread] = [threading.Thread(target=accept)]
            threads[0].start()

            def end() -> None:
                ended.set()
                server.shutdown(socket.SHUT_RDWR)
                for thread in threads:
                    thread.join()

            stack.callback(end)
            return f"http://127.0.0.1:{server.getsockname()[1]}"

        yield start


def score(scorer: HTTPScorer) -> Scores:
    return scorer.score("a query", ["one"])


def ascore(scorer: HTTPScorer) -> Scores:
    return asyncio.run(scorer.ascore("a query", ["one"]))


@pytest.mark.parametrize("name", list(ANSWERS))
def test_a_foreign_answer_is_an_error_of_ours_in_few_words(name: str, serve: Any) -> None:
    """As the answer to a question, and to what the server says of itself."""
    for url in (serve(answer(INFO), ANSWERS[name]), serve(ANSWERS[name], b"")):
        for ask in (score, ascore):
            scorer = HTTPScorer(url, max_retries=0, timeout=15, api_key="secret-key")
            with scorer, pytest.raises(RerankError) as caught:
                ask(scorer)
            said = str(caught.value)
            assert len(said) < 1500
            assert said.isprintable()
            said.encode()
            assert "secret" not in said


@pytest.mark.parametrize(
    "retry_after",
    [
        b"nan",
        b"inf",
        b"-1",
        b"1" + b"0" * 30,
        b"1e400",
        b"Wed, 21 Oct 2015 07:28:00 GMT",
        b"soon",
        b"\xff\xfe",
        b"",
        b"0x10",
    ],
)
async def test_an_absurd_time_to_wait_holds_nobody_up(retry_after: bytes, serve: Any) -> None:
    url = serve(answer(INFO), answer(b"", b"Retry-After: " + retry_after, status=b"503 No"))

    async with HTTPScorer(url, max_retries=1, timeout=5) as scorer:
        with pytest.raises(Unavailable):
            scorer.score("a query", ["one"])
        with pytest.raises(Unavailable):
            await scorer.ascore("a query", ["one"])


async def test_a_redirect_is_not_followed(serve: Any, url: str, seen: list[Any]) -> None:
    """It might lead anywhere, with the key."""
    away = serve(answer(INFO), answer(b"", b"Location: " + url.encode(), status=b"308 Permanent Redirect"))

    async with HTTPScorer(away, api_key="secret-key") as scorer:
        with pytest.raises(RerankError, match="answered 308: it has moved"):
            scorer.score("a query", ["one"])
        with pytest.raises(RerankError, match="answered 308: it has moved"):
            await scorer.ascore("a query", ["one"])

    assert seen == []


def test_an_answer_of_the_full_length_is_read(serve: Any) -> None:
    """With all that a server may add to a score."""
    more = {"document": {"text": "d" * 100_000}, "relevant_spans": [], "data": ["x" * 800_000]}
    url = serve(answer(INFO), answer(scores({"index": 0, "relevance_score": 0.5, **more})))

    with HTTPScorer(url, max_retries=0) as scorer:
        assert score(scorer).values == (0.5,)


def test_a_server_that_compresses_unasked_is_told_apart(serve: Any) -> None:
    packed = gzip.compress(scores({"index": 0, "relevance_score": 0.5}))
    url = serve(answer(INFO), answer(packed, b"Content-Encoding: gzip"))

    with HTTPScorer(url, max_retries=0) as scorer, pytest.raises(ModelError, match="is encoded as 'gzip', unasked"):
        score(scorer)
