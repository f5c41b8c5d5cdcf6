"""Receives the body of a request, and decodes it in short steps."""

from __future__ import annotations

import asyncio
from typing import Any

from rerank_server.asgi import Receive
from rerank_server.routes.body.budget import BodyReservation
from rerank_server.routes.body.content_coding import decoder
from rerank_server.routes.body.json_reader import Steps
from rerank_server.routes.body.metadata import check_length, too_large
from rerank_server.routes.disconnect import ClientDisconnected


async def read_body(
    receive: Receive, *, length: str | None, encoding: str, limit: int, reservation: BodyReservation
) -> bytes:
    """Receive the whole body and decompress it.

    ``length`` and ``encoding`` are the values of Content-Length and Content-Encoding. Raises ``BodyTooLarge`` and
    ``Overloaded``, by the announced length before anything is read, or as soon as more has come; ``UnsupportedCoding``,
    ``WrongCompression``, and ``ClientDisconnected``.
    """
    reservation.grow_to(check_length(length, limit))
    decoding = decoder(encoding, limit)
    body, received, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
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


async def run_in_steps(steps: Steps) -> Any:
    """Run the steps of a long computation, and let other tasks of the event loop run between them."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
        await asyncio.sleep(0)
