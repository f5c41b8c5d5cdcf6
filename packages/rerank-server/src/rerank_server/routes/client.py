"""The client's side of a request: its body, its patience, and whether it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rerank_server.body import InvalidHeader, check_length, too_large
from rerank_server.body_budget import BodyReservation
from rerank_server.content_coding import decoder
from rerank_server.json_body import Steps

Receive = Callable[[], Awaitable[Any]]
Result = TypeVar("Result")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def read_body(
    receive: Receive, *, length: str | None, encoding: str, limit: int, reservation: BodyReservation
) -> bytes:
    """Read the whole body, decompressed.

    ``length`` and ``encoding`` are what Content-Length and Content-Encoding say. Raises ``BodyTooLarge`` and
    ``Overloaded`` from what is announced, before anything is read, or as soon as there is more; ``UnsupportedCoding``,
    ``WrongCompression``, and ``ClientGone``.
    """
    reservation.grow_to(check_length(length, limit))
    decoding = decoder(encoding, limit)
    body, received, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        data = message.get("body", b"")
        received += len(data)
        if received > limit:
            raise too_large(limit)
        for piece in decoding.feed(data):
            body += piece
            reservation.grow_to(len(body))
            if not decoding.is_identity:
                await asyncio.sleep(0)  # a small piece may have become large
        more = message.get("more_body", False)
    decoding.finish()
    return bytes(body)


async def in_turns(steps: Steps) -> Any:
    """Take the steps of a long piece of work, and let others run between them."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        await asyncio.sleep(0)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` gives. It is cancelled, and ``ClientGone`` raised, as soon as the client leaves."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def patience(header: str | None, limit: float) -> float:
    """The seconds that a request may take: the server's limit, or less where ``X-Request-Timeout`` says so.

    Raises ``InvalidHeader`` for what is not a number above 0.
    """
    if header is None:
        return limit
    try:
        wanted = float(header)
    except ValueError:
        wanted = -1.0
    if not wanted > 0:
        raise InvalidHeader("X-Request-Timeout is not a number of seconds above 0: send one like 2.5, or leave it out")
    return min(wanted, limit)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
