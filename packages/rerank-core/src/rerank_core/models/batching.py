"""Batches sequences that go through the network together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from rerank_core.types import SharedPrefix, TokenSequence

Cost: TypeAlias = Callable[[Sequence[TokenSequence]], int]
"""See ``StepwiseModel.cost``."""


class Price(NamedTuple):
    """The cost of a sequence: ``own``, and ``prefix``, which counts once for all sequences that share the prefix."""

    own: int
    prefix: int


def price(sequence: TokenSequence, cost: Cost) -> Price:
    """Divide the cost of a sequence; ``prefix`` is 0 where the engine does not share it."""
    whole = cost([sequence])
    if not sequence.prefix:
        return Price(whole, 0)
    own = cost([sequence, sequence]) - whole
    return Price(own, whole - own)


def batch_order(sequences: Iterable[TokenSequence]) -> list[TokenSequence]:
    """Order sequences for batches: those of one prefix together, the longest first, so that those of a batch are alike.

    Prefixes go by their longest sequences. Those of one length keep their order.
    """
    groups: dict[bytes, list[TokenSequence]] = {}
    for sequence in sorted(sequences, key=len, reverse=True):
        groups.setdefault(sequence.prefix_ids, []).append(sequence)
    return [sequence for group in groups.values() for sequence in group]


def micro_batches(sequences: Iterable[TokenSequence], budget: int, cost: Cost) -> Iterator[list[TokenSequence]]:
    """Deal sequences, in their order, into batches that cost at most ``budget``, a prefix counted once in each.

    A batch over the budget holds a single sequence.
    """
    batch: list[TokenSequence] = []
    room, prefixes = budget, set[bytes]()
    for sequence in sequences:
        own, prefix = price(sequence, cost)
        size = own if sequence.prefix_ids in prefixes else own + prefix
        if batch and size > room:
            yield batch
            batch, room, prefixes = [], budget, set()
            size = own + prefix
        batch.append(sequence)
        prefixes.add(sequence.prefix_ids)
        room -= size
    if batch:
        yield batch


class SharedPrefixes:
    """The shared prefixes of one request. Each lives as long as somebody holds it; the latest one until the next."""

    def __init__(self) -> None:
        self._living: WeakValueDictionary[bytes, SharedPrefix] = WeakValueDictionary()
        self._latest: SharedPrefix | None = None  # more of its sequences may come

    def of(self, sequence: TokenSequence) -> SharedPrefix | None:
        """Return the shared prefix of a sequence; None where it has none."""
        self._latest = self._living.setdefault(sequence.prefix_ids, SharedPrefix()) if sequence.prefix else None
        return self._latest
