"""The client's side of a request: its body, its patience, and whether it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from rerank_server.body import BodyTooLarge, InvalidHeader

Receive = Callable[[], Awaitable[Any]]
Result = TypeVar("Result")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises ``BodyTooLarge`` as soon as it is, and ``ClientGone``."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge(
                f"the body is larger than the {limit} bytes that a request may have: "
                "send several requests (the limit is RERANK_MAX_BODY_BYTES)"
            )
        if not message.get("more_body"):
            return bytes(body)


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
