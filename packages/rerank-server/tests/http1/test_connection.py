"""Connections from outside: upgrades, order, limits, room, and how they end."""

import asyncio
import json
import logging
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from rerank_server.http1 import connection
from rerank_server.http1.pool import Phase

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


class App:
    """Answers with the method, the path and the body. ``/wait`` waits for ``go_on``; ``/unread`` answers at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.left: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path, body, more = scope["path"], b"", scope["path"] != "/unread"
        self.begun.put_nowait(path)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.put_nowait(path)
                return
            body += message["body"]
            more = message["more_body"]
        if path == "/wait":
            leaving = asyncio.ensure_future(receive())
            going_on = asyncio.ensure_future(self.go_on.wait())
            await asyncio.wait({leaving, going_on}, return_when=asyncio.FIRST_COMPLETED)
            going_on.cancel()
            if leaving.done():
                self.left.put_nowait(path)
                return
            leaving.cancel()
        if path == "/fails":
            raise RuntimeError("on purpose")
        said = f"{scope['method']} {path} ".encode() + body
        headers = [] if path == "/no-length" else [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})


def get(path: str, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"GET %s HTTP/%s\r\nHost: x\r\n%s\r\n" % (path.encode(), version, headers)


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s" % (path.encode(), len(body), headers, body)


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "noisy" not in request.fixturenames:
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture
def noisy() -> None:
    """The test expects warnings."""


async def until(condition: Any) -> None:
    """Lets the loop turn until something is so; the test's own limit ends it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


# Upgrades.


@pytest.mark.parametrize("together", [True, False])
async def test_an_offered_upgrade_is_ignored_and_the_connection_goes_on(listen: Any, app: App, together: bool) -> None:
    offering, plain = post("/a", b"12345", H2C), post("/b", b"678")
    cut = offering.index(b"12345")
    async with listen(app) as server, server.client() as client:
        await client.send(*([offering + plain] if together else [offering[:cut], offering[cut:], plain]))

        answers = [await client.answer(), await client.answer()]

    assert [(status, body) for status, _, body in answers] == [(200, b"POST /a 12345"), (200, b"POST /b 678")]
    assert not any("connection" in headers for _, headers, _ in answers)


async def test_a_websocket_gets_an_ordinary_answer_and_leaves_nothing_in_the_log(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/w", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"))

        assert (await client.answer())[2] == b"GET /w "


async def test_an_offer_beside_100_continue_is_answered_with_100_and_then_read(listen: Any, app: App) -> None:
    data = post("/a", b"12345", H2C + b"Expect: 100-continue\r\n")
    async with listen(app) as server, server.client() as client:
        await client.send(data[:-5])
        assert (await client.answer())[0] == 100
        await client.send(data[-5:])

        assert (await client.answer())[2] == b"POST /a 12345"


async def test_the_preface_of_http_2_is_answered_and_the_connection_closed(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(24))

        answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer


# HTTP/1.0, and answers before the body was read.


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/no-length", b"Connection: keep-alive\r\n", b"1.0"))

        head, _, body = (await client.rest()).partition(b"\r\n\r\n")

    assert body == b"GET /no-length "
    assert b"chunked" not in head
    assert b"connection: close" in head


async def test_http_1_0_may_keep_its_connection(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/a", b"Connection: keep-alive\r\n", b"1.0"))
        _, headers, _ = await client.answer()
        await client.send(get("/b", b"", b"1.0"))

        assert headers["connection"] == "keep-alive"
        assert (await client.rest()).endswith(b"GET /b ")


async def test_who_announces_much_and_is_refused_unread_reads_why(listen: Any, app: App) -> None:
    head = b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n"
    async with listen(app) as server, server.client() as client:
        await client.send(head)
        status, headers, _ = await client.answer()
        await client.send(*[bytes(1_000_000)] * 20)  # it goes on all the same, and is not cut off

        assert (status, headers["connection"]) == (200, "close")


async def test_who_waits_for_100_and_is_refused_gets_no_100(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(post("/unread", b"", b"").replace(b"Length: 0", b"Length: 5\r\nExpect: 100-continue"))

        status, headers, _ = await client.answer()

    assert (status, headers["connection"]) == (200, "close")


async def test_a_small_body_that_was_not_read_costs_no_connection(listen: Any, app: App) -> None:
    data = post("/unread", b"12345")
    async with listen(app) as server, server.client() as client:
        await client.send(data[:-3])
        _, headers, _ = await client.answer()
        await client.send(data[-3:] + get("/b"))

        assert "connection" not in headers
        assert (await client.answer())[2] == b"GET /b "


async def test_chunks_without_end_behind_an_answer_end_the_connection(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.answer()
        await client.send(b"10000\r\n" + bytes(65_536) + b"\r\n10000\r\n" + bytes(65_536))

        assert await client.rest() == b""


async def test_who_leaves_while_the_application_reads_nothing_of_its_body_is_let_go(
    listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LOOK", 0.01)
    begun, read = asyncio.Event(), asyncio.Event()
    messages = []

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await read.wait()
        messages.append(await receive())

    async with listen(busy) as server:
        async with server.client() as client:
            await client.send(post("/a", bytes(200_000)))
            await begun.wait()
        await until(lambda: not len(server.pool))
        read.set()

    assert messages == [{"type": "http.disconnect"}]


async def test_a_client_is_not_looked_for_any_more_when_its_body_is_read_again(
    listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    monkeypatch.setattr(connection, "_LOOK", 0.01)
    monkeypatch.setattr(connection, "has_disconnected", looked.append)
    read, complete, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        await read.wait()
        while (await receive())["more_body"]:
            pass
        complete.set()
        await go_on.wait()
        await send(start())
        await send(body(b"read"))

    async with listen(busy) as server, server.client() as client:
        await client.send(post("/a", bytes(200_000)))
        await until(lambda: len(looked) > 1)
        read.set()
        await complete.wait()
        looked.clear()
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, later.set)  # behind the next look
        await later.wait()
        go_on.set()
        await client.answer()

    assert looked == []


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"GET /", b"x" * 1000, 414),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 100, 431),
        (b"GET / HTTP/1.1\r\na: ", b"x" * 1000, 431),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 100, 431),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 1000, 431),
    ],
    ids=["a target", "headers", "a header", "trailers", "a chunk's extension"],
)
async def test_what_has_no_end_is_answered_and_its_connection_closed(
    listen: Any, app: App, begin: bytes, more: bytes, status: int
) -> None:
    async with listen(app) as server, server.client() as client, server.client() as flood:
        await client.send(begin, *[more] * 200)
        answered, headers, body = await client.answer()
        assert await client.rest() == b""
        with pytest.raises(ConnectionError):
            await flood.send(begin, *[more * 100] * 200)

    assert (answered, headers["connection"]) == (status, "close")
    assert "65536 bytes" in json.loads(body)["detail"]


# Order.


async def test_what_cannot_be_read_is_refused_in_its_turn(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/wait") + get("/b") + b"nonsense\r\n\r\n" + get("/c"))
        await app.begun.get()
        app.go_on.set()

        bodies = [(await client.answer())[2] for _ in "ab"]
        status, headers, refused = await client.answer()
        assert bodies == [b"GET /wait ", b"GET /b "]
        assert (status, headers["connection"]) == (400, "close")
        assert "no HTTP request" in json.loads(refused)["detail"]
        assert await client.rest() == b""


async def test_a_crowd_in_a_pipeline_is_answered_in_order_and_waits_unparsed(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        sending = asyncio.ensure_future(client.send(b"".join(get(f"/{n}") for n in range(5000))))

        bodies = [(await client.answer())[2] for _ in range(5000)]
        await sending

    assert bodies == [b"GET /%d " % n for n in range(5000)]


async def test_who_sends_too_much_behind_a_request_is_answered_so_in_its_turn(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/wait") + post("/b", bytes(9_000_000)))
        app.go_on.set()

        assert (await client.answer())[2] == b"GET /wait "
        status, headers, body = await client.answer()
    assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "5")
    assert "262144 bytes" in json.loads(body)["detail"]


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize(
    "behind",
    [get("/b"), get("/b") * 10_000, get("/b")[:9], post("/b", bytes(100_000))[:50_000], post("/b", bytes(9_000_000))],
    ids=["a request", "a crowd", "half a head", "half a body", "a large body"],
)
async def test_who_leaves_while_requests_wait_behind_one_costs_nothing_more(
    listen: Any, app: App, how: str, behind: bytes
) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/wait") + behind)
        assert await app.begun.get() == "/wait"
        await (client.close() if how == "closes" else asyncio.sleep(0))
        client.reset()

        assert await app.left.get() == "/wait"
        await until(lambda: not len(server.pool))
        assert app.begun.empty()


async def test_a_request_whose_application_fails_is_a_500_in_json(listen: Any, app: App, noisy: None) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/fails"))
        status, headers, body = await client.answer()

    assert (status, headers["connection"], json.loads(body)) == (500, "close", {"detail": "Internal Server Error"})


Message = dict[str, Any]


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


FIVE_BYTES = start(200, (b"content-length", b"5"))


def sends(*messages: Message) -> Any:
    """An application that reads its request and sends these messages, whatever it was asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize(
    "messages",
    [[], [body(b"first")], [start(200, (b"a b", b"c"))], [start(200, (b"a", b"b\r\nc: d"))]],
    ids=["nothing", "a body before its start", "a header with a space in its name", "a header of two lines"],
)
async def test_an_application_that_begins_no_answer_is_answered_for(
    listen: Any, noisy: None, messages: list[Message]
) -> None:
    async with listen(sends(*messages)) as server, server.client() as client:
        await client.send(get("/a"))
        status, headers, _ = await client.answer()

        assert await client.rest() == b""
    assert (status, headers["connection"]) == (500, "close")


@pytest.mark.parametrize(
    "messages",
    [
        [FIVE_BYTES],
        [FIVE_BYTES, body(b"123")],
        [FIVE_BYTES, body(b"123456")],
        [FIVE_BYTES, FIVE_BYTES],
    ],
    ids=["no body", "a body that is too short", "a body that is too long", "two starts"],
)
async def test_an_answer_that_cannot_be_completed_is_cut_off(listen: Any, noisy: None, messages: list[Message]) -> None:
    """The client must not take it for a whole one."""
    async with listen(sends(*messages)) as server, server.client() as client:
        await client.send(get("/a"))

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.answer()


async def test_what_an_application_sends_behind_its_answer_is_dropped(listen: Any, noisy: None) -> None:
    async with listen(sends(FIVE_BYTES, body(b"12345"), body(b"more"))) as server, server.client() as client:
        await client.send(get("/a") + get("/b"))

        assert [(await client.answer())[2] for _ in "ab"] == [b"12345", b"12345"]


async def test_an_answer_to_head_has_no_body_and_the_connection_goes_on(listen: Any) -> None:
    pieces = sends(FIVE_BYTES, body(b"123", more=True), body(b"45"))
    async with listen(pieces) as server, server.client() as client:
        await client.send(get("/a").replace(b"GET", b"HEAD") + get("/b", b"Connection: close\r\n"))

        first, second = (await client.rest()).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first == b"content-length: 5\r\n\r\n"
    assert second.endswith(b"\r\n\r\n12345")


async def test_a_status_that_nobody_has_named_has_no_reason(listen: Any) -> None:
    async with listen(sends(start(499, (b"content-length", b"0")), body(b""))) as server, server.client() as client:
        await client.send(get("/a", b"Connection: close\r\n"))

        assert (await client.rest()).startswith(b"HTTP/1.1 499 \r\n")


@pytest.mark.parametrize("target", [b"http://x:99999999/", b"http://[::1"], ids=["a port", "a host"])
async def test_a_target_that_is_no_url_is_refused(listen: Any, app: App, target: bytes) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, refused = await client.answer()

    assert (status, headers["connection"]) == (400, "close")
    assert "send a path, like /v1/rerank" in json.loads(refused)["detail"]


CHUNKED = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_body_that_turns_out_broken_behind_its_answer_gets_no_second_one(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(CHUNKED % b"/unread")
        assert (await client.answer())[2] == b"POST /unread "
        await client.send(b"no chunk\r\n", *[bytes(1_000_000)] * 20)  # it goes on all the same, and is not cut off

        assert await client.rest() == b""


async def test_a_body_that_turns_out_broken_ends_an_answer_that_has_begun(listen: Any) -> None:
    async def begins(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"begun", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    async with listen(begins) as server, server.client() as client:
        await client.send(CHUNKED % b"/a")
        await until(lambda: server.pool.tasks)
        await client.send(b"no chunk\r\n")

        assert (await client.rest()).endswith(b"5\r\nbegun\r\n")


# Room.


async def test_the_connection_that_was_silent_longest_makes_room(listen: Any, app: App) -> None:
    async with (
        listen(app, limit=3) as server,
        server.client() as first,
        server.client() as second,
        server.client() as third,
    ):
        await until(lambda: server.pool.count(Phase.SILENT) == 3)
        await first.send(get("/a"))
        await first.answer()
        async with server.client() as new:
            await new.send(get("/new"))

            assert (await new.answer())[2] == b"GET /new "
            assert await second.rest() == b""
            for kept in (first, third):
                await kept.send(get("/b"))
                assert (await kept.answer())[2] == b"GET /b "


async def test_a_silent_connection_makes_room_before_one_whose_request_arrives(listen: Any, app: App) -> None:
    async with listen(app, limit=2) as server, server.client() as slow, server.client() as silent:
        await slow.send(b"GET /slow HTTP/1.1\r\n")
        await until(lambda: server.pool.count(Phase.ARRIVING) == 1 and server.pool.count(Phase.SILENT) == 1)
        async with server.client() as new:
            await new.send(get("/new"))
            assert (await new.answer())[2] == b"GET /new "

        assert await silent.rest() == b""
        await slow.send(b"Host: x\r\n\r\n")
        assert (await slow.answer())[2] == b"GET /slow "


async def test_where_none_is_silent_the_oldest_that_is_not_complete_makes_room(listen: Any, app: App) -> None:
    async with listen(app, limit=2) as server, server.client() as slow, server.client() as working:
        await slow.send(b"GET /sl")
        await until(lambda: server.pool.count(Phase.ARRIVING) == 1)
        await working.send(get("/wait"))
        await app.begun.get()
        async with server.client() as new:
            await new.send(get("/new"))

            assert (await new.answer())[2] == b"GET /new "
            assert (await slow.rest()).startswith(b"HTTP/1.1 503 ")
        app.go_on.set()
        assert (await working.answer())[2] == b"GET /wait "


async def test_where_all_are_busy_the_next_one_waits_for_room(
    listen: Any, app: App, noisy: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with listen(app, limit=1) as server, server.client() as working:
        await working.send(get("/wait"))
        await app.begun.get()
        async with server.client() as new:
            await new.send(get("/new"))
            await until(lambda: caplog.records)
            assert app.begun.empty()
            app.go_on.set()

            assert (await new.answer())[2] == b"GET /new "
    assert caplog.messages == ["all 1 connections (RERANK_MAX_CONNECTIONS) are busy: others wait"]


async def test_a_request_that_comes_in_the_moment_in_which_room_is_made_is_answered(listen: Any, app: App) -> None:
    async with listen(app, limit=1) as server, server.client() as client:
        await until(lambda: server.pool.count(Phase.SILENT) == 1)
        client.send_now(get("/a"))  # the event loop has not read it yet

        assert not server.pool.make_room()
        assert (await client.answer())[2] == b"GET /a "


async def test_a_connection_that_is_being_closed_makes_room_before_any_other(listen: Any, app: App) -> None:
    async with listen(app, limit=2) as server, server.client() as closing, server.client() as other:
        await until(lambda: server.pool.count(Phase.SILENT) == 2)
        next(iter(server.pool)).close_if_silent()

        assert server.pool.make_room()
        assert await closing.rest() == b""
        await other.send(get("/a"))
        assert (await other.answer())[2] == b"GET /a "


async def test_a_connection_that_waits_for_its_client_to_read_the_answer_makes_room(listen: Any, app: App) -> None:
    async with listen(app, limit=1) as server, server.client() as answered:
        await answered.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n")
        await until(lambda: server.pool.count(Phase.LINGERING) == 1)
        async with server.client() as new:
            await new.send(get("/new"))

            assert (await new.answer())[2] == b"GET /new "


async def test_who_is_closed_to_make_room_while_its_body_arrives_is_gone_for_the_application(
    listen: Any, app: App
) -> None:
    async with listen(app, limit=1) as server, server.client() as slow:
        await slow.send(post("/slow", b"12345")[:-2])
        assert await app.begun.get() == "/slow"
        async with server.client() as new:
            await new.send(get("/new"))

            assert (await new.answer())[2] == b"GET /new "
        assert await app.left.get() == "/slow"
        assert (await slow.rest()).startswith(b"HTTP/1.1 503 ")


# The end.


async def test_a_request_that_is_being_answered_is_neither_refused_nor_closed_as_silent(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/wait"))
        await app.begun.get()
        for member in server.pool:
            member.refuse_arriving()
            member.close_if_silent()
        app.go_on.set()

        assert (await client.answer())[2] == b"GET /wait "


async def test_while_the_server_drains_each_answer_is_the_last_of_its_connection(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/a"))
        _, before, _ = await client.answer()
        server.pool.draining = True
        await client.send(get("/b"))
        _, after, _ = await client.answer()

        assert await client.rest() == b""
    assert "connection" not in before
    assert after["connection"] == "close"


async def test_while_the_server_drains_a_pipeline_is_answered_to_its_end(listen: Any, app: App) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(get("/wait") + get("/b") + get("/c"))
        await app.begun.get()
        server.pool.draining = True
        app.go_on.set()

        connections = [(await client.answer())[1].get("connection") for _ in "abc"]

    assert connections == [None, None, "close"]


@pytest.mark.parametrize(
    "part",
    [
        b"GET /a HT",
        post("/a", b"12345")[:-2],
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12",
    ],
)
async def test_what_is_not_complete_when_the_server_ends_is_answered_503(listen: Any, app: App, part: bytes) -> None:
    async with listen(app) as server, server.client() as client:
        await client.send(part)
        await until(lambda: server.pool.count(Phase.ARRIVING) == 1)
        for member in server.pool:
            member.refuse_arriving()

        status, headers, _ = await client.answer()

        await client.send(b"345")
        assert await client.rest() == b""
    assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "5")


async def test_a_listener_that_closes_serves_all_that_have_connected(listen: Any, app: App) -> None:
    async with listen(app) as server:
        async with server.client() as one, server.client() as two, server.client() as three:
            await server.listener.close()

            for client in (one, two, three):
                await client.send(get("/a"))
                assert (await client.answer())[2] == b"GET /a "
        with pytest.raises(ConnectionRefusedError):
            async with server.client():
                pass


async def test_who_has_connected_and_is_not_accepted_yet_is_served_by_a_listener_that_closes(
    listen: Any, app: App
) -> None:
    async with listen(app) as server:
        waiting = [socket.create_connection(server.address) for _ in "abc"]
        await server.listener.close()

        for connected in waiting:
            async with server.client(sock=connected) as client:
                await client.send(get("/a"))
                assert (await client.answer())[2] == b"GET /a "


@pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_client_in_the_middle_of_its_handshake_is_served_by_a_listener_that_closes(
    listen: Any, app: App, family: socket.AddressFamily
) -> None:
    """The client counts itself connected already, and sends its request."""
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with listen(app, host="::1" if family == socket.AF_INET6 else "127.0.0.1") as server:
        with socket.socket(family) as connecting:
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)  # delays the handshake's last packet
            connecting.connect(server.address)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await until(lambda: len(server.pool) > 0)
            closing = asyncio.create_task(server.listener.close())
            await asyncio.sleep(0)
            async with server.client(sock=connecting) as client:
                await client.send(get("/a"))
                await closing
                assert (await client.answer())[2] == b"GET /a "


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_a_crowd_that_connects_in_one_moment_is_served(listen: Any, app: App) -> None:
    async with listen(app) as server:
        waiting = [socket.create_connection(server.address) for _ in range(50)]
        for connected in waiting:
            async with server.client(sock=connected) as client:
                await client.send(get("/a"))
                assert (await client.answer())[2] == b"GET /a "


# Nonsense.


async def test_no_bytes_break_a_connection(listen: Any, app: App) -> None:
    """Requests with bytes changed, cut and doubled: each connection ends, with answers of ours and no others."""
    chance = random.Random(7)
    seeds = [
        get("/a"),
        post("/a", b"12345", H2C),
        post("/unread", b"x" * 100, b"Expect: 100-continue\r\n"),
        get("/b") * 3,
    ]
    seeds.append(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n0\r\nA: b\r\n\r\n")
    statuses = set()
    async with listen(app) as server:
        for _ in range(400):
            data = bytearray(chance.choice(seeds) + chance.choice(seeds))
            for _ in range(chance.randrange(4)):
                at = chance.randrange(len(data))
                change = chance.choice(["byte", "cut", "double", "line"])
                if change == "byte":
                    data[at] = chance.randrange(256)
                elif change == "line":
                    data[at:at] = chance.choice(
                        [b"\r\n", b"\n", b"\0", b"Content-Length: 3\r\n", b"Connection: close\r\n"]
                    )
                else:
                    end = at + chance.randrange(20)
                    data[at:end] = b"" if change == "cut" else data[at:end] * 2
            async with server.client() as client:
                await client.send(*[bytes(data[: (half := chance.randrange(len(data) + 1))]), bytes(data[half:])])
                client.end_sending()
                answer = await client.rest()
            statuses |= {line[9:12] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")}
        await until(lambda: not len(server.pool))
    assert statuses <= {b"100", b"200", b"400"}
    assert statuses >= {b"200", b"400"}
