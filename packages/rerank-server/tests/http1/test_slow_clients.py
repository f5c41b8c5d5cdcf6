"""How long a client may take to deliver its request, over real connections."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from rerank_server.http1.connection import Connection
from rerank_server.http1.lingering import LINGER
from rerank_server.http1.listener import Listener, listen_on_port
from rerank_server.http1.pool import Phase, Pool
from rerank_server.http1.serving import Serving

LIMIT = 30.0  # seconds, on a clock that is moved by hand
KEEP_ALIVE = 5.0  # seconds
LENGTH = 32_000_000  # bytes: more than the buffers of two sockets hold

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST /%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

COMPLETE = {
    "no body": (GET % b"reads-then-waits", 0),
    "a length": (POST % (b"reads-then-waits", 5) + b"12345", 5),
    "chunks": (CHUNKED % b"reads-then-waits" + b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n", 5),
    "a body sent without waiting for 100-continue": (EXPECTING % b"reads-then-waits" + b"12345", 5),
}
PARTS = {
    "half a head": b"POST /rerank HTTP/1.1\r\nHos",
    "a head without its last line": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "a head without its body": POST % (b"", 5),
    "half a body": POST % (b"", 5) + b"12",
    "half a chunk": CHUNKED % b"" + b"5\r\n12",
    "chunks without the last": CHUNKED % b"" + b"2\r\n12\r\n",
    "no body after 100-continue": EXPECTING % b"",
}


class App:
    """Reads the whole body, then answers with the path and the body's length. What it sees, others may wait for."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.complete: asyncio.Queue[int] = asyncio.Queue()  # sizes of bodies
        self.left: asyncio.Queue[str] = asyncio.Queue()  # paths of requests whose clients went away
        self.go_on = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        path = scope["path"].strip("/")
        self.begun.put_nowait(path)
        size = 0
        if path == "waits-then-reads":
            await self.go_on.wait()
        if path == "answers-unread":
            await self._answer(send, b"unread")
            return
        if path == "begins-to-answer":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if path == "answers-at-length":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(LENGTH), "more_body": True})
        if path == "answers-completely-at-length":
            await self._answer(send, bytes(LENGTH))
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.put_nowait(path)
                return
            size += len(message["body"])
            self.chunks.put_nowait(message["body"])
            if not message["more_body"]:
                break
        self.complete.put_nowait(size)
        if path == "reads-then-waits":
            leaving = asyncio.ensure_future(receive())  # as who works for a client does
            await self.go_on.wait()
            leaving.cancel()
        await self._answer(send, b"%s %d" % (path.encode(), size))

    async def _answer(self, send: Callable[..., Any], body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Clock:
    """The loop's clock, which runs on as ever, and can be moved."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    async def passes(self, seconds: float) -> None:
        """All that is due within ``seconds`` has happened."""
        loop = asyncio.get_running_loop()
        due = loop.create_future()
        loop.call_later(seconds, due.set_result, None)
        self._ahead += seconds
        await due


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ") for line in lines if line)
        return int(status.split()[1]), await self._reader.readexactly(int(headers.get("content-length", 0)))

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        return await self._reader.read()

    async def delivers(self, data: bytes) -> None:
        """All of it has gone out."""
        self._writer.write(data)
        await self._writer.drain()

    async def take(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Server:
    """Listens on a free port of the loopback interface."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        (self._socket,) = listen_on_port("127.0.0.1", 0)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        def connection() -> Connection:
            made = Connection(self._serving)
            self._made.append(made)
            return made

        self._made: list[Connection] = []
        self.address = self._socket.getsockname()
        listener = Listener([self._socket], self._serving.pool, connection)
        listener.start()
        try:
            yield
        finally:
            await listener.close()
            for member in self._serving.pool:
                member.abort()
            await asyncio.gather(*self._serving.pool.tasks)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A connection that the server knows of."""
        reader, writer = await asyncio.open_connection(*self.address)
        name = writer.get_extra_info("sockname")
        while name not in {getattr(connection, "client", None) for connection in self._made}:  # noqa: ASYNC110
            await asyncio.sleep(0)  # lets the loop turn: there is no event to wait for
        client = Client(reader, writer)
        try:
            yield client
        finally:
            await client.close()

    async def answers(self) -> None:
        """Whatever was sent before has been read, and a new client is served."""
        async with self.client() as client:
            client.send(GET % b"another")
            assert await client.answer() == (200, b"another 0")


@asynccontextmanager
async def serving(app: Any, limit: float, pool: Pool | None = None) -> AsyncIterator[Server]:
    pool = Pool(1000) if pool is None else pool
    server = Server(Serving(app=app, pool=pool, receive_timeout=limit, keep_alive_seconds=KEEP_ALIVE))
    async with server.run():
        yield server


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing to warn of: neither by uvicorn nor by asyncio."""
    yield
    records = [record for phase in ("call", "teardown") for record in caplog.get_records(phase)]
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    return clock


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
def pool() -> Pool:
    return Pool(1000)


@pytest.fixture
async def server(app: App, clock: Clock, pool: Pool) -> AsyncIterator[Server]:
    async with serving(app, LIMIT, pool) as server:
        yield server


def refused(answer: bytes, limit: float = LIMIT) -> bool:
    """Whether this is the whole refusal, and nothing else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    return (
        status == b"HTTP/1.1 408 Request Timeout"
        and {b"connection: close", b"content-type: application/json", b"content-length: %d" % len(body)} <= {*headers}
        and json.loads(body) == {"detail": f"the request was not complete within {limit:g} s: send it faster"}
    )


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
async def test_a_request_that_is_never_complete_is_refused_and_its_connection_closed(app: App, part: bytes) -> None:
    """On the true clock: whatever has arrived by then, the answer is the same."""
    async with serving(app, 0.2) as server, server.client() as client:
        client.send(part)

        answer = await client.rest()

    assert refused(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), 0.2)


@pytest.mark.parametrize("part", [b"", b"\r\n\r\n"], ids=["nothing", "empty lines"])
async def test_a_connection_without_a_request_is_closed_without_an_answer(app: App, part: bytes) -> None:
    """A client that keeps it for later would take a 408 for the answer to what it sends in that moment."""
    async with serving(app, 0.2) as server, server.client() as client:
        client.send(part)

        assert await client.rest() == b""


async def test_each_connection_has_its_own_time(server: Server, clock: Clock) -> None:
    async with server.client() as early:
        await clock.passes(LIMIT / 2)
        async with server.client() as late:
            await clock.passes(LIMIT / 2)

            assert await early.rest() == b""
            late.send(GET % b"late")
            assert await late.answer() == (200, b"late 0")


async def test_a_dripping_head_gains_no_time_nor_does_its_first_byte(server: Server, clock: Clock) -> None:
    async with server.client() as client:
        await clock.passes(LIMIT / 8)
        for byte in b"GET / H":
            client.send(bytes([byte]))
            await server.answers()
            await clock.passes(LIMIT / 8)

        assert refused(await client.rest())


async def test_a_dripping_body_gains_no_time_and_its_application_sees_the_client_leave(
    server: Server, app: App, clock: Clock
) -> None:
    async with server.client() as client:
        client.send(POST % (b"dripping", 100))
        for _ in range(8):
            client.send(b"x")
            assert await app.chunks.get() == b"x"
            await clock.passes(LIMIT / 8)

        assert refused(await client.rest())
        assert await app.left.get() == "dripping"


@pytest.mark.parametrize(("request_", "size"), COMPLETE.values(), ids=COMPLETE)
async def test_a_complete_request_may_take_its_time(
    server: Server, app: App, clock: Clock, request_: bytes, size: int
) -> None:
    async with server.client() as client, server.client() as silent:
        client.send(request_)
        assert await app.complete.get() == size

        await clock.passes(10 * LIMIT)

        assert await silent.rest() == b""
        app.go_on.set()
        assert await client.answer() == (200, b"reads-then-waits %d" % size)


async def test_a_later_request_has_its_own_time_from_its_first_byte(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(GET % b"first")
        assert await client.answer() == (200, b"first 0")
        assert await app.chunks.get() == b""
        await clock.passes(KEEP_ALIVE / 2)

        client.send(POST % (b"second", 100) + b"x")
        assert await app.chunks.get() == b"x"
        await clock.passes(LIMIT - 2)  # since the connection, more than the limit
        client.send(b"x")
        assert await app.chunks.get() == b"x"
        await clock.passes(2)

        assert refused(await client.rest())
        assert await app.left.get() == "second"


async def test_between_requests_a_connection_is_kept_as_long_as_ever(server: Server, clock: Clock) -> None:
    async with server.client() as client:
        for _ in range(20):  # longer than the limit in all
            client.send(GET % b"again")
            assert await client.answer() == (200, b"again 0")
            await clock.passes(KEEP_ALIVE / 2)

        await clock.passes(KEEP_ALIVE / 2)
        assert await client.rest() == b""


async def test_a_request_that_comes_in_the_moment_in_which_its_connection_would_be_closed_is_answered(
    server: Server, clock: Clock
) -> None:
    async with server.client() as client:
        client.send(GET % b"first")
        assert await client.answer() == (200, b"first 0")
        asyncio.get_running_loop().call_later(KEEP_ALIVE / 2, client.send, GET % b"second")
        await clock.passes(KEEP_ALIVE)  # both are due in one turn of the loop, which looks for bytes before

        assert await client.answer() == (200, b"second 0")


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    async with server.client() as client:
        client.send(GET % b"a" + POST % (b"b", 5) + b"12345" + GET % b"c")

        assert [await client.answer() for _ in "abc"] == [(200, b"a 0"), (200, b"b 5"), (200, b"c 0")]


NEXT = {
    "half a head": (b"GET /next HTT", b"P/1.1\r\nHost: x\r\n\r\n", b"next 0"),
    "half a body": (POST % (b"next", 5) + b"12", b"345", b"next 5"),
}


@pytest.mark.parametrize(("part", "rest", "answer"), NEXT.values(), ids=NEXT)
async def test_the_time_of_a_pipelined_request_begins_when_its_turn_comes(
    server: Server, app: App, clock: Clock, part: bytes, rest: bytes, answer: bytes
) -> None:
    async with server.client() as patient, server.client() as late:
        for client in (patient, late):
            client.send(GET % b"reads-then-waits" + part)
            await app.begun.get()
        await clock.passes(2.9 * LIMIT)

        app.go_on.set()
        for client in (patient, late):
            assert await client.answer() == (200, b"reads-then-waits 0")
        await clock.passes(LIMIT / 2)
        patient.send(rest)
        assert await patient.answer() == (200, answer)
        await clock.passes(LIMIT / 2)
        assert refused(await late.rest())


async def test_who_waits_to_be_told_to_continue_is_not_late(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(EXPECTING % b"waits-then-reads")
        await app.begun.get()
        await clock.passes(2.5 * LIMIT)

        app.go_on.set()
        assert await client.answer() == (100, b"")
        client.send(b"12345")
        assert await client.answer() == (200, b"waits-then-reads 5")


async def test_who_waits_for_the_application_to_read_is_not_late(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(POST % (b"waits-then-reads", 8_000_000) + bytes(8_000_000))
        await app.begun.get()
        await server.answers()
        await clock.passes(2.5 * LIMIT)

        app.go_on.set()
        assert await client.answer() == (200, b"waits-then-reads 8000000")


async def test_an_answer_that_has_begun_is_cut_and_not_answered_again(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(POST % (b"begins-to-answer", 5) + b"12")
        assert await app.chunks.get() == b"12"
        await clock.passes(LIMIT)

        assert (await client.rest()).endswith(b"\r\n\r\nbegun")
        assert await app.left.get() == "begins-to-answer"


async def test_an_early_answer_gains_a_dripping_body_no_time_and_no_other_answer(server: Server, clock: Clock) -> None:
    async with server.client() as client:
        await clock.passes(LIMIT / 2)
        client.send(POST % (b"answers-unread", 5) + b"1")
        assert await client.answer() == (200, b"unread")
        client.send(b"2")
        await server.answers()
        rest = asyncio.create_task(client.rest())
        await clock.passes(LIMIT / 2)
        await server.answers()

        assert rest.done()
        assert await rest == b""


@pytest.mark.parametrize("idle", [b"345", b"345\r\n", b"3", b"345" + GET % b"next" + b"\r\n"])
async def test_no_bytes_keep_a_connection_open_without_a_request(server: Server, clock: Clock, idle: bytes) -> None:
    async with server.client() as client:
        client.send(POST % (b"answers-unread", 5) + b"12")
        assert await client.answer() == (200, b"unread")
        client.send(idle)
        if b"GET" in idle:
            assert await client.answer() == (200, b"next 0")
            client.send(b"\r\n")
        await server.answers()
        await clock.passes(LIMIT)

        assert await client.rest() == b""


async def test_who_neither_delivers_nor_reads_is_let_go(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(POST % (b"answers-at-length", 5) + b"12")
        assert await app.chunks.get() == b"12"
        await clock.passes(LIMIT)

        assert await app.left.get() == "answers-at-length"


@pytest.mark.parametrize("path", [b"answers-at-length", b"answers-completely-at-length"])
async def test_who_takes_nothing_of_an_answer_is_let_go(
    server: Server, app: App, clock: Clock, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_server.http1.connection")
    async with server.client() as client:
        client.send(GET % path)
        await app.begun.get()
        await server.answers()
        await clock.passes(LIMIT)

        assert len(await client.rest()) < LENGTH
    lines = [record.getMessage() for record in caplog.records if record.name == "rerank_server.http1.connection"]
    assert lines == ["nothing of an answer was taken for 30 s: its connection is closed"]


async def test_who_takes_an_answer_slowly_gets_all_of_it(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(GET % b"answers-completely-at-length")
        await app.begun.get()
        taken = len(await client.take(LENGTH // 4))
        for _ in range(2):
            await clock.passes(0.9 * LIMIT)
            taken += len(await client.take(LENGTH // 4))

        assert len(await client.rest()) > LENGTH - taken  # the head comes on top


LAST = b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_who_takes_nothing_of_a_last_answer_is_let_go(server: Server, app: App, clock: Clock, pool: Pool) -> None:
    async with server.client() as client:
        client.send(LAST % b"answers-completely-at-length")
        await app.begun.get()
        await server.answers()
        assert pool.count(Phase.LINGERING) == 1
        for _ in range(int(LIMIT / LINGER) + 2):
            await clock.passes(LINGER)

        assert pool.count(Phase.LINGERING) == 0
        assert len(await client.rest()) < LENGTH


async def test_who_takes_a_last_answer_slowly_gets_all_of_it(server: Server, app: App, clock: Clock) -> None:
    async with server.client() as client:
        client.send(LAST % b"answers-completely-at-length")
        await app.begun.get()
        taken = 0
        for _ in range(3):
            for _ in range(int(0.9 * LIMIT / LINGER)):
                await clock.passes(LINGER)
            taken += len(await client.take(LENGTH // 4))

        assert len(await client.rest()) > LENGTH - taken  # the head comes on top


async def test_who_is_closed_to_make_room_and_takes_nothing_of_its_answer_is_let_go(
    server: Server, app: App, clock: Clock, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_server.http1.connection")
    async with server.client() as client:
        client.send(GET % b"answers-completely-at-length" + b"GET /nex")
        await app.begun.get()
        await server.answers()
        assert pool.evict_one()
        await clock.passes(LIMIT)

        assert len(await client.rest()) < LENGTH
    lines = [record.getMessage() for record in caplog.records if record.name == "rerank_server.http1.connection"]
    assert lines == ["nothing of an answer was taken for 30 s: its connection is closed"]


async def test_who_goes_on_sending_reads_the_refusal_and_is_cut_soon_after(server: Server, clock: Clock) -> None:
    async with server.client() as client:
        client.send(POST % (b"dripping", LENGTH) + b"x")
        await clock.passes(LIMIT)
        client.send(bytes(1_000_000))

        assert refused(await client.rest())
        await clock.passes(LINGER)
        with pytest.raises(ConnectionError):
            await client.delivers(bytes(LENGTH))


async def test_a_crowd_that_delivers_nothing_keeps_nobody_from_being_served(server: Server, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(server.client()) for _ in range(50)]
        dripping = [await stack.enter_async_context(server.client()) for _ in range(50)]
        hanging = [asyncio.create_task(client.rest()) for client in idle + dripping]
        for byte in b"POST /":
            for client in dripping:
                client.send(bytes([byte]))
            await asyncio.gather(*(server.answers() for _ in range(5)))
            await clock.passes(LIMIT / 12)
        assert not any(client.done() for client in hanging)

        await clock.passes(LIMIT / 2)

        ends = await asyncio.gather(*hanging)
        assert ends[:50] == [b""] * 50
        assert all(refused(answer) for answer in ends[50:])


async def test_a_closed_connection_leaves_one_line_for_who_debugs_and_nothing_of_its_content(
    server: Server, app: App, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_server.http1.connection")
    async with server.client() as client:
        client.send(POST % (b"secret", 100) + b"secret")
        assert await app.chunks.get() == b"secret"
        await clock.passes(LIMIT)
        await client.rest()

    lines = [record.getMessage() for record in caplog.records if record.name == "rerank_server.http1.connection"]
    assert lines == ["a request was not complete within 30 s: its connection is closed"]


async def test_who_goes_before_the_time_is_over_is_forgotten(
    server: Server, app: App, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_server.http1.connection")
    async with server.client() as client:
        client.send(POST % (b"left", 100) + b"x")
        assert await app.chunks.get() == b"x"
    assert await app.left.get() == "left"

    await clock.passes(LIMIT)

    assert [record for record in caplog.records if record.name == "rerank_server.http1.connection"] == []
