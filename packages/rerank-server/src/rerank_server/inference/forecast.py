"""A forecast of the time until waiting work is completed. Pure: no thread, no clock."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_server.inference.pace import Pace
from rerank_server.inference.queue import Queue, QueuedRequest, WorkT


def seconds_left(
    queue: Queue[WorkT], coming: Mapping[QueuedRequest[WorkT], int], batch_tokens: int, pace: Pace
) -> dict[QueuedRequest[WorkT], float] | None:
    """Estimate the seconds until all work of each request is completed, from the end of the current batch.

    ``coming``: tokens that requests will still add. None while too few batches were measured.
    """
    total = queue.tokens + sum(coming.values())
    sequence = max(1, queue.tokens // queue.sequences) if queue.sequences else 1
    full = max(sequence, batch_tokens // sequence * sequence)  # tokens of a full batch of whole sequences
    found: dict[QueuedRequest[WorkT], float] = {}
    for request, taken in queue.forecast(coming).items():
        before = (taken - 1) // full  # batches
        each, last = pace.seconds(min(full, total)), pace.seconds(min(full, total - before * full))
        if each is None or last is None:
            return None
        found[request] = before * each + last
    return found
