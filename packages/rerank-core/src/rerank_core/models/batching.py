"""Batches segments that go through the network together."""

from collections.abc import Iterator, Sequence

from rerank_core.types import Segment


def micro_batches(segments: Sequence[Segment], budget: int) -> Iterator[list[Segment]]:
    """Deal segments, in their order, into batches of at most ``budget`` tokens.

    A batch over the budget holds a single segment.
    """
    batch: list[Segment] = []
    room = budget
    for segment in segments:
        if batch and len(segment) > room:
            yield batch
            batch, room = [], budget
        batch.append(segment)
        room -= len(segment)
    if batch:
        yield batch
