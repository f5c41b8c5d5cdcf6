"""What is a request, what is none, and where one ends."""

from itertools import pairwise

import pytest
from rerank_server.http1.head import Head, RequestError
from rerank_server.http1.parser import FRAMING_LIMIT, RequestParser

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
GOT_NEXT = ("GET /next", b"", True)


class Requests:
    """The requests that were found: method and target, body, and whether each was complete."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.found: list[tuple[str, bytes, bool]] = []
        self.begun = 0

    def on_begin(self) -> None:
        self.begun += 1

    def on_head(self, head: Head) -> None:
        self.heads.append(head)
        self.found.append((f"{head.method} {head.target.decode()}", b"", False))

    def on_body(self, data: bytes) -> None:
        line, body, _ = self.found[-1]
        self.found[-1] = (line, body + data, False)

    def on_end(self) -> None:
        line, body, _ = self.found[-1]
        self.found[-1] = (line, body, True)


def parse(data: bytes, cuts: tuple[int, ...] = ()) -> Requests:
    requests = Requests()
    parser = RequestParser(requests)
    for start, end in pairwise((0, *cuts, len(data))):
        for at in range(start, end, 4096):
            parser.feed(data[at : min(at + 4096, end)])
    return requests


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /p HTTP/%s\r\nHost: x\r\n%s\r\n%s" % (version, headers, body)


LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"2\r\n12\r\n3;name=value\r\n345\r\n0\r\n\r\n"
WHOLE = {
    "a length": post(LENGTH, b"12345"),
    "chunks": post(CHUNKED, CHUNKS),
    "HTTP/1.0": post(LENGTH + b"Connection: keep-alive\r\n", b"12345", b"1.0"),
    "an offer of h2c": post(H2C + LENGTH, b"12345"),
    "an offer of h2c, last": post(LENGTH + H2C, b"12345"),
    "an offer of h2c, chunks": post(H2C + CHUNKED, CHUNKS),
    "an offer of TLS": post(b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n" + LENGTH, b"12345"),
    "offers of several": post(
        b"Upgrade: h2c, websocket\r\nUpgrade: IRC/6.9\r\nConnection: a, upgrade\r\n" + LENGTH, b"12345"
    ),
    "a websocket by POST": post(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n" + LENGTH, b"12345"
    ),
    "an offer, and 100-continue": post(H2C + b"Expect: 100-continue\r\n" + LENGTH, b"12345"),
    "an offer in HTTP/1.0": post(b"Connection: upgrade, keep-alive\r\nUpgrade: h2c\r\n" + LENGTH, b"12345", b"1.0"),
    "Upgrade without Connection": post(b"Upgrade: h2c\r\n" + LENGTH, b"12345"),
    "trailers": post(CHUNKED, CHUNKS[:-2] + b"X-Trailer: 1\r\nAuthorization: Bearer trailer\r\n\r\n"),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_a_request_is_read_to_its_end_and_so_is_the_next_wherever_the_segments_end(data: bytes) -> None:
    expected = [("POST /p", b"12345", True), GOT_NEXT]
    for cut in range(len(data) + len(NEXT)):
        requests = parse(data + NEXT, (cut,))
        assert requests.found == expected
        assert requests.begun == 2
    assert parse(data + NEXT, tuple(range(len(data + NEXT)))).found == expected


def test_a_request_without_a_body_that_offers_an_upgrade_has_none() -> None:
    websocket = b"GET /w HTTP/1.1\r\nHost: x\r\n" + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    assert parse(websocket + websocket + NEXT).found == [("GET /w", b"", True), ("GET /w", b"", True), GOT_NEXT]


def test_of_an_offered_upgrade_the_application_sees_all_headers_but_the_offer() -> None:
    (head,) = parse(post(b"Accept: a\r\n" + H2C + b"Accept: b\r\n" + LENGTH, b"12345")).heads

    assert head.values(b"accept") == [b"a", b"b"]
    assert head.values(b"content-length") == [b"5"]
    assert head.values(b"upgrade") == []
    assert head.keep_alive


def test_trailers_are_no_headers_of_this_request_nor_of_the_next() -> None:
    trailing = post(CHUNKED, b"0\r\nAuthorization: Bearer k\r\nHost: evil\r\n\r\n")

    first, second = parse(trailing + NEXT).heads

    assert first.headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
    assert second.headers == [(b"host", b"x")]


def test_nothing_is_read_behind_a_request_that_closes_the_connection() -> None:
    closing = post(b"Connection: close\r\n" + LENGTH, b"12345")

    assert parse(closing + NEXT).found == [("POST /p", b"12345", True)]
    assert parse(closing + b"\x00nonsense", (len(closing),)).found == [("POST /p", b"12345", True)]


GET = b"GET / HTTP/1.1\r\n"
REFUSED = {
    "no Host": GET + b"\r\n",
    "two Hosts": GET + b"Host: x\r\nHost: x\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
    "a Host with a space": GET + b"Host: a b\r\n\r\n",
    "a Host with a path": GET + b"Host: a/b\r\n\r\n",
    "a Host with a user": GET + b"Host: me@a\r\n\r\n",
    "a Host with no number for a port": GET + b"Host: a:b\r\n\r\n",
    "a Host that is no address": GET + b"Host: [::1\r\n\r\n",
    "a Host beyond ASCII": GET + "Host: bücher\r\n\r\n".encode(),
    "a length and chunks": post(LENGTH + CHUNKED, CHUNKS),
    "chunks and a length": post(CHUNKED + LENGTH, CHUNKS),
    "two lengths": post(LENGTH + b"Content-Length: 6\r\n", b"12345"),
    "two equal lengths": post(LENGTH + LENGTH, b"12345"),
    "a list of lengths": post(b"Content-Length: 5, 5\r\n", b"12345"),
    "a signed length": post(b"Content-Length: +5\r\n", b"12345"),
    "a negative length": post(b"Content-Length: -5\r\n", b"12345"),
    "a length beyond all numbers": post(b"Content-Length: 99999999999999999999\r\n"),
    "an offer, and a length beside chunks": post(H2C + LENGTH + CHUNKED, CHUNKS),
    "a coding that we do not know": post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS),
    "a coding that is nearly chunked": post(b"Transfer-Encoding: xchunked\r\n", CHUNKS),
    "chunks, and a coding behind them": post(b"Transfer-Encoding: chunked, identity\r\n", CHUNKS),
    "chunks twice": post(CHUNKED + CHUNKED, CHUNKS),
    "chunks in HTTP/1.0": post(CHUNKED, CHUNKS, b"1.0"),
    "a length among the trailers": post(CHUNKED, CHUNKS[:-2] + b"Content-Length: 7\r\n\r\n"),
    "a chunk longer than it says": post(CHUNKED, b"2\r\n123\r\n0\r\n\r\n"),
    "a chunk of no length": post(CHUNKED, b"x\r\n12\r\n"),
    "a folded header": GET + b"Host: x\r\nA: b\r\n c\r\n\r\n",
    "a line that ends in LF": GET + b"Host: x\nA: b\r\n\r\n",
    "all lines ending in LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "a line that ends in CR": GET + b"Host: x\rA: b\r\n\r\n",
    "NUL in a value": GET + b"Host: x\r\nA: b\0c\r\n\r\n",
    "NUL in a name": GET + b"Host: x\r\nA\0: b\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space before the colon": GET + b"Host : x\r\n\r\n",
    "bytes beyond ASCII in the target": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 in words": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("segments", ["one", "each byte"])
def test_what_is_no_request_is_a_400(data: bytes, segments: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(data, tuple(range(1, len(data))) if segments == "each byte" else ())

    assert refused.value.status == 400


@pytest.mark.parametrize(
    "host", ["a", "a.example:8000", "127.0.0.1", "[::1]:80", "my_pod-1", "a:", "", "xn--bcher-kva.example"]
)
def test_a_host_may_be(host: str) -> None:
    assert parse(GET + b"Host: %s\r\n\r\n" % host.encode()).found == [("GET /", b"", True)]


def test_http_1_0_needs_no_host_and_has_no_100_continue() -> None:
    data = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"

    (head,) = parse(data).heads

    assert not head.expects_continue
    assert not head.keep_alive


ENDLESS = {
    "a target": (b"GET /" + b"x" * FRAMING_LIMIT, 414),
    "one header": (GET + b"A: " + b"x" * FRAMING_LIMIT, 431),
    "a header's name": (GET + b"Host: x\r\n" + b"x" * FRAMING_LIMIT, 431),
    "many headers": (GET + b"A: b\r\n" * FRAMING_LIMIT, 431),
    "headers of an offer": (GET + H2C + b"A: b\r\n" * FRAMING_LIMIT, 431),
    "trailers": (post(CHUNKED, CHUNKS[:-2]) + b"A: b\r\n" * FRAMING_LIMIT, 431),
    "one trailer": (post(CHUNKED, CHUNKS[:-2]) + b"A: " + b"b" * FRAMING_LIMIT, 431),
    "a chunk's extension": (post(CHUNKED, b"2;" + b"x" * FRAMING_LIMIT), 431),
    "extensions of many chunks": (post(CHUNKED, b"1;%s\r\nx\r\n" % (b"y" * 1000) * 100), 431),
    "trailers of an offer": (post(H2C + CHUNKED, CHUNKS[:-2]) + b"A: b\r\n" * FRAMING_LIMIT, 431),
    "a later request": (NEXT + GET + b"A: b\r\n" * FRAMING_LIMIT, 431),
}


@pytest.mark.parametrize(("data", "status"), ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_refused_at_64_kb(data: bytes, status: int) -> None:
    parser = RequestParser(Requests())
    fed = 0

    def feed_slowly() -> None:
        nonlocal fed
        for fed in range(0, len(data), 100):
            parser.feed(data[fed : fed + 100])

    with pytest.raises(RequestError) as refused:
        feed_slowly()

    assert refused.value.status == status
    assert fed <= FRAMING_LIMIT + 2_000


def test_empty_lines_without_end_are_refused() -> None:
    with pytest.raises(RequestError):
        parse(b"\r\n" * FRAMING_LIMIT)


def test_headers_up_to_the_limit_and_a_large_body_in_the_smallest_chunks_are_read() -> None:
    large = GET + b"Host: x\r\nA: " + b"x" * (FRAMING_LIMIT - 100) + b"\r\n\r\n"
    chunks = post(CHUNKED, b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n")

    assert parse(large).found == [("GET /", b"", True)]
    assert parse(chunks).found == [("POST /p", b"x" * 200_000, True)]
