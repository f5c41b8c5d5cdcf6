"""Heads on the network: the pooling of a sequence's hidden states, and layers behind it.

Each row of the result depends on one sequence only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.packed.encoder import PackedSequences, filled_up
from rerank_core.engines.packed.ops.linear import Linear

Read: TypeAlias = Literal["all", "first", "last", "rightmost"]
"""Tokens of a sequence; ``rightmost`` is the last one that is not the padding id."""


class Pool(Protocol):
    """Turns the network's hidden states into one row a sequence, and rows behind these that only fill up."""

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute rows [sequences, hidden], filled up."""
        ...


def first_token(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take first tokens as they are: the encoder has computed no others."""
    return hidden


def mean(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take the mean of all tokens [tokens, hidden]."""
    return filled_up(torch.stack([hidden[start:end].mean(0) for start, end in pairwise(packed.bounds.places)]))


def last_token(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take last tokens out of all [tokens, hidden]."""
    return filled_up(hidden[packed.bounds.offsets[1:] - 1])


def last_alone(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take last tokens as they are: the decoder has computed no others."""
    return hidden


def first_of_all(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take first tokens out of all [tokens, hidden]."""
    return filled_up(hidden[packed.bounds.starts])


@dataclass(frozen=True, slots=True)
class RightmostToken:
    """Takes the last token of each sequence that is not ``padding``, out of all [tokens, hidden]."""

    padding: int | None

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """See ``Pool``."""
        sequences = starmap(slice, pairwise(packed.bounds.places))
        found = [hidden[rows][rightmost(packed.token_ids[rows].tolist(), self.padding)] for rows in sequences]
        return filled_up(torch.stack(found))


def rightmost(token_ids: Sequence[int], padding: int | None) -> int:
    """Find the last token that is not padding, as transformers does; in nothing but padding it is the first."""
    return next((place for place in reversed(range(len(token_ids))) if token_ids[place] != padding), 0)


def largest(hidden: Tensor, packed: PackedSequences) -> Tensor:
    """Take the largest of each column of all tokens [tokens, hidden]."""
    return filled_up(torch.stack([hidden[start:end].amax(0) for start, end in pairwise(packed.bounds.places)]))


@dataclass(frozen=True, slots=True)
class Dense:
    """A product and an activation, which works in place."""

    linear: Linear
    activation: Callable[[Tensor], object]

    def __call__(self, x: Tensor) -> Tensor:
        """Compute [rows, outputs]."""
        x = self.linear(x)
        self.activation(x)
        return x


@dataclass(frozen=True, slots=True)
class Projection:
    """The product with the few rows of ``weight`` [labels, hidden], in float32.

    Not a matrix product: with few columns that has other bits for another number of rows.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Compute [rows, labels]."""
        return (x.float()[:, None] * self.weight).sum(-1) + self.bias


@dataclass(frozen=True, slots=True)
class Head:
    """The pooling and the layers behind it: logits [sequences, labels], or embeddings [sequences, hidden].

    ``reads``: the tokens of which a decoder computes the hidden states for it.
    """

    pool: Pool
    layers: tuple[Callable[[Tensor], Tensor], ...] = ()
    reads: Read = "all"

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute one row a sequence."""
        x = self.pool(hidden, packed)
        for layer in self.layers:
            x = layer(x)
        return x[: len(packed.bounds.starts)]
