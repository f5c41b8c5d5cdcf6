"""When what waits will be done. Pure: no thread, no clock."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_server.inference.pace import Pace
from rerank_server.inference.queue import Item, Order, Queue


def seconds_left(
    queue: Queue[Item], coming: Mapping[Order[Item], int], batch_tokens: int, pace: Pace
) -> dict[Order[Item], float] | None:
    """Seconds until each order has all that it waits for, from the end of the batch in progress.

    ``coming``: tokens that orders will still add. None where too little was measured to say.
    """
    total = queue.tokens + sum(coming.values())
    segment = max(1, queue.tokens // queue.segments) if queue.segments else 1
    full = max(segment, batch_tokens // segment * segment)  # what a batch takes of whole segments
    found: dict[Order[Item], float] = {}
    for order, taken in queue.forecast(coming).items():
        before = (taken - 1) // full  # batches
        each, last = pace.seconds(min(full, total)), pace.seconds(min(full, total - before * full))
        if each is None or last is None:
            return None
        found[order] = before * each + last
    return found
