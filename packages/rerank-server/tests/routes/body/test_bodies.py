"""How a body may arrive: its character set, its compression, its length."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from httpx import AsyncClient as Client
from rerank_core.testing.doubles import OverlapModel
from rerank_server.routes.body.budget import SMALL

Serve = Callable[..., AbstractAsyncContextManager[Client]]

TEXT = "pandas live in 中国 😀"
BODIES = {
    "/v1/rerank": {"query": TEXT, "documents": [TEXT, "Paris"]},
    "/rerank": {"query": TEXT, "passage": TEXT},
    "/rerank/batch": {"pairs": [{"query": TEXT, "passage": TEXT}]},
    "/tei/rerank": {"query": TEXT, "texts": [TEXT, "Paris"]},
    "/vllm/v1/score": {"text_1": TEXT, "text_2": [TEXT]},
    "/v1/ranking": {"query": {"text": TEXT}, "passages": [{"text": TEXT}]},
}
FIELDS = {
    "/v1/rerank": {"id", "message", "detail", "code", "error"},
    "/rerank": {"detail"},
    "/rerank/batch": {"detail"},
    "/tei/rerank": {"error", "error_type"},
    "/vllm/v1/score": {"error"},
    "/infinity/rerank": {"error"},
    "/llamacpp/rerank": {"error"},
    "/cohere/v2/rerank": {"id", "message"},
}


def written(path: str) -> bytes:
    return json.dumps(BODIES[path], ensure_ascii=False).encode()


def raw_deflate(data: bytes) -> bytes:
    compressing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressing.compress(data) + compressing.flush()


@pytest.fixture
async def scores(client: Client):
    """Asks, and gives the scores as the plain request has them and as this one has them."""

    async def ask(path: str, body: bytes, **headers: str) -> tuple[object, object]:
        plain = await client.post(path, json=BODIES[path])
        answer = await client.post(
            path, content=body, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )
        assert answer.status_code == 200, answer.text
        drop = {"id", "created"}
        kept = [body.json() for body in (plain, answer)]
        return tuple({k: v for k, v in one.items() if k not in drop} if isinstance(one, dict) else one for one in kept)

    return ask


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
async def test_a_body_is_read_in_every_unicode_encoding_with_and_without_a_mark(
    scores, path: str, encoding: str
) -> None:
    body = written(path).decode().encode(encoding)

    for kind in ("application/json", f"application/json; charset={encoding.removesuffix('-sig')}"):
        plain, read = await scores(path, body, content_type=kind)
        assert read == plain


async def test_a_big_endian_mark_is_read_too(scores) -> None:
    plain, read = await scores("/v1/rerank", b"\xfe\xff" + written("/v1/rerank").decode().encode("utf-16-be"))

    assert read == plain


@pytest.mark.parametrize(
    "kind",
    [
        'application/json; charset="UTF-8"',
        "application/json;charset=utf8",
        "APPLICATION/JSON",
        "application/vnd.api+json; version=1; charset=utf-8",
        "application/json; charset=",
        "",
    ],
)
async def test_utf8_is_read_however_it_is_named(scores, kind: str) -> None:
    plain, read = await scores("/v1/rerank", written("/v1/rerank"), content_type=kind)

    assert read == plain


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1252", "shift_jis", "x-" + "y" * 1000])
async def test_another_charset_is_415_by_name_unless_the_body_is_ascii(client: Client, charset: str) -> None:
    kind = {"Content-Type": f"application/json; charset={charset}"}
    odd = await client.post("/v1/rerank", content=written("/v1/rerank"), headers=kind)
    plain = await client.post("/v1/rerank", content=json.dumps(BODIES["/v1/rerank"]), headers=kind)

    assert (odd.status_code, odd.json()["code"]) == (415, "unsupported_media_type")
    assert charset[:50] in odd.json()["message"]
    assert len(odd.json()["message"]) < 500
    assert plain.status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe\x00\xd8{\x00", b"\x00{\xd8\x00", b'{"query": "\xff"}', b"\x00\x00\x00", b"\xef\xbb\xbf", b"\xff\xfe"],
)
async def test_what_is_not_valid_in_its_encoding_is_a_broken_body(client: Client, body: bytes) -> None:
    answer = await client.post("/v1/rerank", content=body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "identity": bytes,
    " , gzip": gzip.compress,
    "identity, gzip": gzip.compress,
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
    "deflate,gzip": lambda data: gzip.compress(raw_deflate(data)),
    "gzip, gzip, gzip": lambda data: gzip.compress(gzip.compress(gzip.compress(data))),
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_body_is_read(scores, path: str, coding: str) -> None:
    plain, read = await scores(path, CODINGS[coding](written(path)), content_encoding=coding)

    assert read == plain


async def test_a_gzip_body_may_have_members_and_padding_and_come_byte_by_byte(client: Client) -> None:
    body = written("/v1/rerank")
    packed = gzip.compress(body[:20]) + gzip.compress(b"") + gzip.compress(body[20:]) + b"\0" * 100

    async def slowly() -> AsyncIterator[bytes]:
        for byte in packed:
            yield bytes([byte])

    assert (await client.post("/v1/rerank", content=slowly(), headers={"Content-Encoding": "gzip"})).status_code == 200
    for deflated in (zlib.compress(body), raw_deflate(body)):

        async def in_two(data: bytes = deflated) -> AsyncIterator[bytes]:
            yield data[:1]
            yield data[1:]

        answer = await client.post("/v1/rerank", content=in_two(), headers={"Content-Encoding": "deflate"})
        assert answer.status_code == 200


async def test_each_header_of_several_names_codings_in_their_order(client: Client) -> None:
    headers = [("Content-Encoding", "deflate"), ("Content-Encoding", "gzip")]
    body = gzip.compress(zlib.compress(written("/v1/rerank")))

    assert (await client.post("/v1/rerank", content=body, headers=headers)).status_code == 200


GZIP = gzip.compress(json.dumps({"query": "x", "documents": ["y"]}).encode(), mtime=0)  # tests are named by it


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GZIP + b"garbage"),
        ("gzip", GZIP[:-1]),
        ("gzip", GZIP[:5]),
        ("gzip", GZIP[:-8] + b"\0" * 8),
        ("gzip", b'{"query": "x", "documents": ["y"]}'),
        ("deflate", zlib.compress(b"{}") + b"x"),
        ("deflate", zlib.compress(b"{}")[:-2]),
        ("deflate", b"x"),
        ("gzip, deflate", GZIP),
    ],
)
async def test_a_body_that_is_not_what_its_coding_says_is_400(
    client: Client, path: str, coding: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers={"Content-Encoding": coding})

    assert (answer.status_code, set(answer.json())) == (400, FIELDS[path])


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "compress", "x" * 5000])
async def test_a_coding_that_is_not_read_is_415_and_says_which_are(client: Client, path: str, coding: str) -> None:
    answer = await client.post(path, content=b"whatever", headers={"Content-Encoding": coding})

    assert (answer.status_code, set(answer.json())) == (415, FIELDS[path])
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert coding.rpartition(" ")[2][:50] in answer.text
    assert len(answer.text) < 2000


async def test_too_many_codings_are_415(client: Client) -> None:
    answer = await client.post("/v1/rerank", content=b"x", headers={"Content-Encoding": ",".join(["gzip"] * 50)})

    assert answer.status_code == 415


def bomb(layers: int) -> bytes:
    data = gzip.compress(b'{"query": "' + b"a" * 20_000_000)
    for _ in range(layers - 1):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize("layers", [1, 2, 3])
async def test_a_body_that_grows_beyond_the_limit_is_413_before_all_of_it_is_there(client: Client, layers: int) -> None:
    packed, sent = bomb(layers), 0
    pieces = [packed[start : start + 1000] for start in range(0, len(packed), 1000)]

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for piece in pieces:
            sent += 1
            yield piece

    answer = await client.post("/v1/rerank", content=body(), headers={"Content-Encoding": ", ".join(["gzip"] * layers)})

    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert "RERANK_MAX_BODY_BYTES" in answer.json()["message"]
    assert layers > 1 or sent < len(pieces)


async def test_what_stands_between_two_codings_is_limited_too(shared) -> None:
    """A gigabyte of empty members would come to nothing, after minutes."""
    client, _ = await shared(max_body_bytes=1_000_000)
    empty = gzip.compress(b"")
    packed = gzip.compress(empty * (1_200_000 // len(empty)))

    answer = await client.post("/v1/rerank", content=packed, headers={"Content-Encoding": "gzip, gzip"})

    assert answer.status_code == 413


async def test_an_announced_length_beyond_the_limit_is_413_before_anything_is_read(client: Client) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    for path, fields in FIELDS.items():
        answer = await client.post(path, content=body(), headers={"Content-Length": "5000000000"})
        assert (answer.status_code, set(answer.json())) == (413, fields)


class HalfSent:
    """A body that waits in the middle."""

    def __init__(self, size: int) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        text = b'{"query": "x", "documents": ["' + b"a" * self._size
        yield text
        self.begun.set()
        await self.go_on.wait()
        yield b'"]}'


LARGE = {"max_body_bytes": 200_000, "max_body_bytes_in_flight": 300_000, "max_text_chars": 200_000}


@pytest.mark.parametrize("announced", [True, False])
async def test_bodies_beyond_the_budget_are_429_and_small_ones_pass(serve: Serve, until_ready, announced: bool) -> None:
    async with serve(lambda _: OverlapModel(), **LARGE) as client:
        await until_ready(client)
        first, second = (HalfSent(size := 180_000 if announced else 140_000) for _ in range(2))
        length = {"Content-Length": str(size + 35)} if announced else {}
        waiting = [
            asyncio.create_task(client.post("/v1/rerank", content=one, headers=length)) for one in (first, second)
        ]
        refused = await waiting[1] if announced else None
        await first.begun.wait()
        during = (await client.get("/metrics")).text
        large = await client.post("/v1/rerank", json={"query": "x", "documents": ["a" * 160_000]})
        small = await client.post("/v1/rerank", json={"query": "x", "documents": ["a" * (SMALL - 1000)]})
        first.go_on.set()
        second.go_on.set()
        answered = await waiting[0]
        rest = await waiting[1]
        after = (await client.get("/metrics")).text

    assert "rerank_body_bytes_in_flight 0.0" not in during
    assert large.status_code == 429
    assert "RERANK_MAX_BODY_BYTES_IN_FLIGHT" in large.json()["message"]
    assert int(large.headers["Retry-After"]) >= 1
    assert small.status_code == 200
    assert (answered.status_code, rest.status_code) == ((200, 429) if announced else (200, 200))
    assert refused is None or refused.status_code == 429
    assert "rerank_body_bytes_in_flight 0.0" in after
    assert 'rerank_rejections_total{reason="overloaded"}' in after


async def test_a_body_that_becomes_large_is_counted_as_it_grows(serve: Serve, until_ready) -> None:
    """By what it is, not by what was sent."""
    packed = gzip.compress(json.dumps({"query": "x", "documents": ["a" * 150_000]}).encode())
    async with serve(lambda _: OverlapModel(), **LARGE | {"max_body_bytes_in_flight": 200_000}) as client:
        await until_ready(client)
        first = HalfSent(100_000)
        waiting = asyncio.create_task(client.post("/v1/rerank", content=first))
        await first.begun.wait()
        answer = await client.post("/v1/rerank", content=packed, headers={"Content-Encoding": "gzip"})
        first.go_on.set()

        assert (await waiting).status_code == 200
        assert answer.status_code == 429
        assert (
            await client.post("/v1/rerank", content=packed, headers={"Content-Encoding": "gzip"})
        ).status_code == 200


async def test_a_client_that_leaves_gives_its_bytes_back(serve: Serve, until_ready) -> None:
    said = iter([{"type": "http.request", "body": b" " * 150_000, "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/v1/rerank", "raw_path": b"/v1/rerank", "query_string": b""}
    held = []
    async with serve(lambda _: OverlapModel(), **LARGE) as client:
        await until_ready(client)

        async def receive() -> object:
            held.append((await client.get("/metrics")).text)
            return next(said)

        async def send(_: object) -> None:
            pass

        await client._transport.app(scope | {"headers": [], "scheme": "http"}, receive, send)
        after = (await client.get("/metrics")).text

    assert "rerank_body_bytes_in_flight 150000.0" in held[-1]
    assert "rerank_body_bytes_in_flight 0.0" in after


async def test_a_broken_body_gives_its_bytes_back(serve: Serve, until_ready) -> None:
    async with serve(lambda _: OverlapModel(), **LARGE) as client:
        await until_ready(client)
        answer = await client.post("/v1/rerank", content=b"{" + b" " * 150_000)

        assert answer.status_code == 400
        assert "rerank_body_bytes_in_flight 0.0" in (await client.get("/metrics")).text
