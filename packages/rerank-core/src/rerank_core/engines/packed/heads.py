"""Heads on the encoder: classification, or pooling. Each row of the result depends on one sequence only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from rerank_core.engines.packed.encoder import PackedSequences
from rerank_core.engines.packed.ops.linear import Linear


class Head(Protocol):
    """Turns the encoder's hidden states into one row a sequence."""

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute logits [sequences, labels], or embeddings [sequences, hidden]."""
        ...


@dataclass(frozen=True, slots=True)
class ClassificationHead:
    """dense, activation (in place), projection to the labels in float32: of first tokens [sequences, hidden]."""

    dense: Linear
    activation: Callable[[Tensor], object]
    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute logits [sequences, labels]."""
        x = self.dense(hidden)
        self.activation(x)
        x = x.float()
        # Not a matrix product: with few columns that has other bits for another number of rows.
        return (x[:, None] * self.weight).sum(-1)[: len(packed.bounds.starts)] + self.bias


class MeanPooling:
    """The mean of all tokens [tokens, hidden]."""

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute embeddings [sequences, hidden]."""
        return torch.stack([hidden[start:end].mean(0) for start, end in pairwise(packed.bounds.places)])


class FirstToken:
    """The first token as it is, out of first tokens [sequences, hidden]."""

    def __call__(self, hidden: Tensor, packed: PackedSequences) -> Tensor:
        """Compute embeddings [sequences, hidden]."""
        return hidden[: len(packed.bounds.starts)]
