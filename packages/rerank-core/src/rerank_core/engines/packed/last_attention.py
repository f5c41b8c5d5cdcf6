"""The attention of a last layer of which only first tokens are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.packed.encoder import PackedSequences, filled_up, split_heads
from rerank_core.engines.packed.ops.attention import Attention, Bias
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.rotary import Rotary


@dataclass(frozen=True, slots=True)
class WholeAttention:
    """Computes attention for all tokens, as every layer does, and keeps the first tokens' context."""

    qkv: Linear
    attend: Attention
    rotary: Rotary | None = None

    def __call__(self, x: Tensor, heads: int, packed: PackedSequences) -> Tensor:
        """See ``LastAttention``."""
        context = torch.zeros_like(x)
        query, key, value = split_heads(self.qkv(x), heads)
        if self.rotary is not None:
            angles = self.rotary.angles(packed.position_ids)
            angles.rotate(query)
            angles.rotate(key)
        self.attend(query, key, value, packed.bounds, context.view(len(x), heads, -1))
        return filled_up(context[packed.bounds.starts])


HeadProduct: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Multiplies [rows, heads, inputs] with [heads, inputs, outputs]: [rows, heads, outputs], each row as if alone."""


def by_torch(x: Tensor, weight: Tensor) -> Tensor:
    """See ``HeadProduct``. Rows are filled up: a product of few has other bits."""
    rows, heads, inputs = x.shape
    filled = filled_up(x.reshape(rows, -1)).view(-1, heads, inputs)
    return torch.bmm(filled.transpose(0, 1), weight).transpose(0, 1)[:rows]


@dataclass(frozen=True, slots=True)
class AbsorbedValue:
    """Values that are never computed: the weighted sum of W_v x is W_v applied to the weighted sum of x.

    ``weight``: [heads, hidden, head width].
    """

    weight: Tensor
    bias: Tensor | None
    product: HeadProduct = by_torch

    def __call__(self, mixed: Tensor) -> Tensor:
        """Compute the context [rows, hidden], filled up, of weighted sums [rows, heads, hidden]."""
        context = filled_up(self.product(mixed, self.weight).flatten(1))
        return context if self.bias is None else context.add_(self.bias)


@dataclass(frozen=True, slots=True)
class AbsorbedAttention:
    """Computes attention without keys and values.

    For each head, q·(W_k x) is (W_k^T q)·x. The key's bias adds the same to every weight before the softmax, and so
    nothing. ``key``: [heads, head width, hidden].
    """

    query: Linear
    key: Tensor
    value: AbsorbedValue
    product: HeadProduct = by_torch

    def __call__(self, x: Tensor, heads: int, packed: PackedSequences) -> Tensor:
        """See ``LastAttention``."""
        starts, width = packed.bounds.starts, self.key.shape[1]
        queries = (self.query(filled_up(x[starts])) / width**0.5).view(-1, heads, width)[: len(starts)]
        asked = self.product(queries, self.key)  # W_k^T q, for each head of each sequence [sequences, heads, hidden]
        mixed = torch.empty_like(asked)
        for row, (start, end) in enumerate(pairwise(packed.bounds.places)):
            sequence = x[start:end]
            weights = torch.softmax(asked[row] @ sequence.t(), dim=1)
            torch.mm(weights, sequence, out=mixed[row])
        return self.value(mixed)


@dataclass(frozen=True, slots=True)
class FirstTokenAttention:
    """Computes queries of first tokens, keys of those that they see, and no values.

    For families with something between queries and keys: ``rotary`` positions, or a ``bias``. ``reach``: how many
    places away a token is seen; None: in the whole sequence.
    """

    query: Linear
    key: Linear
    value: AbsorbedValue
    rotary: Rotary | None = None
    bias: Bias | None = None
    reach: int | None = None

    def __call__(self, x: Tensor, heads: int, packed: PackedSequences) -> Tensor:
        """See ``LastAttention``."""
        starts, positions = packed.bounds.starts, packed.position_ids
        places, sequences = packed.bounds.places, x
        first = filled_up(x[starts])
        query = self._projected(self.query, first, positions[starts], heads)
        if self.reach is not None:
            seen = [range(start, min(start + self.reach + 1, end)) for start, end in pairwise(places)]
            places = [0, *accumulate(map(len, seen))]
            rows = torch.tensor([row for each in seen for row in each], device=x.device)
            sequences, positions = filled_up(x[rows]), positions[rows]
        key = self._projected(self.key, sequences, positions, heads)
        scale = query.shape[-1] ** -0.5 if self.bias is None else self.bias.scale
        mixed = x.new_empty(len(starts), heads, x.shape[1])
        for row, (start, end) in enumerate(pairwise(places)):
            q, k = query[:, row : row + 1], key[:, start:end]
            scores = (q * scale) @ k.transpose(1, 2)  # [heads, 1, tokens]
            if self.bias is not None:
                scores += self.bias(q, k)
            torch.mm(torch.softmax(scores[:, 0], dim=1), sequences[start:end], out=mixed[row])
        return self.value(mixed)

    def _projected(self, linear: Linear, x: Tensor, positions: Tensor, heads: int) -> Tensor:
        """Compute queries or keys [heads, rows, width], of which those that have a position are rotated."""
        projected = linear(x).view(len(x), heads, -1)
        if self.rotary is not None:
            self.rotary.angles(positions).rotate(projected[: len(positions)])
        return projected.transpose(0, 1)
