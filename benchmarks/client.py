"""Clients that cost next to nothing, as they share the cores with the server: requests are bytes, made beforehand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

from pairs import PairSet
from server import HOST, LIMIT, Server


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``began`` and ``ended``: seconds of ``perf_counter``; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def scores(self) -> list[float]:
        """Of ``/v1/rerank``, in the order of the documents."""
        results = json.loads(self.body)["results"]
        by_index = {result["index"]: result["relevance_score"] for result in results}
        return [by_index[index] for index in range(len(results))]


class Connection:
    """One that stays open, for one request at a time; opened again where the server has closed it meanwhile."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams."""
        if self._streams is None or self._streams[0].at_eof() or self._streams[1].is_closing():
            self.close()
            self._streams = await asyncio.open_connection(HOST, self._server.port, limit=1 << 20)
        return self._streams

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer. Raises ``OSError``, ``EOFError`` or ``TimeoutError``."""
        async with asyncio.timeout(LIMIT):
            is_used = self._streams is not None
            began = perf_counter()
            try:
                return await self._exchange(request, began)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if not is_used or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                    raise
            # It was closed just when the request was sent.
            self.close()
            return await self._exchange(request, began)

    async def _exchange(self, request: bytes, began: float) -> Answer:
        reader, writer = await self.open()
        writer.write(request)
        status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
        body = await reader.readexactly(int(headers["content-length"]))
        ended = perf_counter()
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body, began, ended)

    def close(self) -> None:
        """Hang up, whether there was an answer or not."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def connections(server: Server, count: int) -> AsyncIterator[list[Connection]]:
    """So many, open already, and closed at the end."""
    found = [Connection(server) for _ in range(count)]
    try:
        for connection in found:
            await connection.open()
        yield found
    finally:
        for connection in found:
            connection.close()


async def ask_all(clients: Sequence[Connection], requests: Sequence[bytes]) -> list[Answer]:
    """Every request once; a client sends the next one when it has its answer. In the order of the requests."""
    answers: dict[int, Answer] = {}
    waiting = iter(range(len(requests)))

    async def run(client: Connection) -> None:
        for number in waiting:
            answers[number] = await client.ask(requests[number])

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(run(client))
    return [answers[number] for number in range(len(requests))]


def span(answers: Sequence[Answer]) -> float:
    """Seconds from the first request to the last answer."""
    return max(answer.ended for answer in answers) - min(answer.began for answer in answers)


def rerank(pairs: PairSet) -> bytes:
    """A request to ``/v1/rerank`` for raw scores."""
    body = json.dumps({"query": pairs.query, "documents": pairs.documents, "raw_scores": True}).encode()
    return _request("POST", "/v1/rerank", body)


def singly(pairs: PairSet) -> list[bytes]:
    """The same, one document a request."""
    return [
        rerank(PairSet(pairs.name, pairs.query, (document,), (length,)))
        for document, length in zip(pairs.documents, pairs.lengths, strict=True)
    ]


def info() -> bytes:
    """A request to ``/info``."""
    return _request("GET", "/info", b"")


def _request(method: str, path: str, body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _head(text: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = text.decode("latin-1").rstrip().split("\r\n")
    named = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in named}
