"""Batches sequences that go through the network together."""

from collections.abc import Callable, Iterator, Sequence

from rerank_core.types import TokenSequence


def micro_batches(
    sequences: Sequence[TokenSequence], budget: int, cost: Callable[[Sequence[TokenSequence]], int]
) -> Iterator[list[TokenSequence]]:
    """Deal sequences, in their order, into batches whose costs sum up to at most ``budget``.

    A batch over the budget holds a single sequence.
    """
    batch: list[TokenSequence] = []
    room = budget
    for sequence in sequences:
        size = cost([sequence])
        if batch and size > room:
            yield batch
            batch, room = [], budget
        batch.append(sequence)
        room -= size
    if batch:
        yield batch
