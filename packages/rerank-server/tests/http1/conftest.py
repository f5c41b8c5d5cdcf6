"""A server of connections in this process, and clients that send bytes to it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeAlias

import pytest
from rerank_server.http1.connection import Connection
from rerank_server.http1.listener import Listener, listen_on_port
from rerank_server.http1.pool import Pool
from rerank_server.http1.serving import Serving


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *segments: bytes) -> None:
        for segment in segments:
            self._writer.write(segment)
            await self._writer.drain()
            await asyncio.sleep(0)

    def send_now(self, data: bytes) -> None:
        """Send without a turn of the event loop."""
        self._writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().lower().removesuffix("\r\n\r\n").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def rest(self) -> bytes:
        """All that comes until the server closes the connection."""
        return await self._reader.read()

    def end_sending(self) -> None:
        self._writer.write_eof()

    def reset(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Server:
    def __init__(self, pool: Pool, address: tuple[str, int], listener: Listener) -> None:
        self.pool = pool
        self.listener = listener
        self.address = address

    @asynccontextmanager
    async def client(self, sock: socket.socket | None = None) -> AsyncIterator[Client]:
        """A new connection, or that of a socket that has connected."""
        address = {} if sock else dict(zip(("host", "port"), self.address, strict=True))
        client = Client(*await asyncio.open_connection(sock=sock, **address))
        try:
            yield client
        finally:
            await client.close()


Listen: TypeAlias = Callable[..., AbstractAsyncContextManager[Server]]


@asynccontextmanager
async def _listen(app: Any, *, limit: int = 100, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[Server]:
    pool = Pool(limit)
    options = {"receive_timeout": 30.0, "keep_alive_seconds": 75.0} | options
    serving = Serving(app=app, pool=pool, **options)
    (listening,) = listen_on_port(host, 0)
    listener = Listener([listening], pool, lambda: Connection(serving))
    listener.start()
    try:
        yield Server(pool, listening.getsockname()[:2], listener)
    finally:
        await listener.close(handshake_seconds=0)
        for member in pool:
            member.abort()
        await asyncio.gather(*pool.tasks)


@pytest.fixture
def listen() -> Listen:
    """Serves an ASGI application: ``async with listen(app) as server``."""
    return _listen
