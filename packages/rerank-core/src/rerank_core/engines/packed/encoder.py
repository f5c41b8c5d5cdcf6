"""The encoder stack of BERT and its family, over sequences laid end to end.

There is no padding and no mask: every operation but attention works on rows, one a token, and does not care whose
they are; attention runs once for each sequence. As in "Attention Is All You Need", with the norm after each residual:

    x = norm(embeddings)
    each layer:   x = norm(x + attention(x));   x = norm(x + down(gelu(up(x))))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.attention import Attention, Bounds
from rerank_core.engines.packed.ops.linear import Linear, filled


@dataclass(frozen=True, slots=True)
class PackedSequences:
    """Sequences laid end to end: int64 ids [tokens] of tokens, positions and types, and where each sequence begins.

    Rows behind the last bound only fill it up.
    """

    token_ids: Tensor
    position_ids: Tensor
    type_ids: Tensor | None
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Tables of tokens, positions and types [entries, width], their norm, and a projection where widths differ."""

    tokens: Tensor
    positions: Tensor
    types: Tensor | None
    norm: Norm
    projection: Linear | None = None

    def __call__(self, packed: PackedSequences) -> Tensor:
        """Compute the first hidden states [tokens, hidden]."""
        x = self.tokens[packed.token_ids].to(self.positions.dtype)
        x += self.positions[packed.position_ids]
        if self.types is not None:
            x += self.types[0] if packed.type_ids is None else self.types[packed.type_ids]
        x = self.norm(x)
        return x if self.projection is None else self.projection(x)


@dataclass(frozen=True, slots=True)
class Layer:
    """Attention and feed-forward. ``qkv`` gives query, key and value side by side [tokens, 3 * hidden]."""

    qkv: Linear
    attention_out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


class LastAttention(Protocol):
    """The attention of first tokens only, to all tokens of their sequences."""

    def __call__(self, x: Tensor, first: Tensor, heads: int, attend: Attention, bounds: Bounds) -> Tensor:
        """Compute the context [rows, hidden] of ``first`` [rows, hidden], the first tokens of ``x``, filled up."""
        ...


@dataclass(frozen=True, slots=True)
class WholeAttention:
    """Computes attention for all tokens, as every layer does, and keeps the first tokens' context."""

    qkv: Linear

    def __call__(self, x: Tensor, first: Tensor, heads: int, attend: Attention, bounds: Bounds) -> Tensor:
        """See ``LastAttention``."""
        context = torch.zeros_like(x)
        attend(*split_heads(self.qkv(x), heads), bounds, context.view(len(x), heads, -1))
        return filled_up(context[bounds.starts])


@dataclass(frozen=True, slots=True)
class AbsorbedAttention:
    """Computes attention without keys and values.

    For each head, q·(W_k x) is (W_k^T q)·x, and the weighted sum of W_v x is W_v applied to the weighted sum of x. The
    key's bias adds the same to every weight before the softmax, and so nothing. ``key`` and ``value`` are [heads, head
    width, hidden].
    """

    query: Linear
    key: Tensor
    value: Tensor
    value_bias: Tensor

    def __call__(self, x: Tensor, first: Tensor, heads: int, attend: Attention, bounds: Bounds) -> Tensor:
        """See ``LastAttention``."""
        width = self.key.shape[1]
        queries = (self.query(first) / width**0.5).view(-1, heads, width).transpose(0, 1)
        asked = torch.bmm(queries, self.key)  # W_k^T q, for each head of each sequence [heads, rows, hidden]
        mixed = torch.zeros_like(asked)
        for row, (start, end) in enumerate(pairwise(bounds.places)):
            sequence = x[start:end]
            weights = torch.softmax(asked[:, row] @ sequence.t(), dim=1)
            mixed[:, row] = weights @ sequence
        context = torch.bmm(mixed, self.value.transpose(1, 2)).transpose(0, 1).reshape(first.shape)
        return context.add_(self.value_bias)


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A layer of which only the first token of each sequence is wanted."""

    attention: LastAttention
    attention_out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class Encoder:
    """The whole stack. ``activation`` works in place."""

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    heads: int
    activation: Callable[[Tensor], object]
    attend: Attention
    last: LastLayer | None = None

    def __call__(self, packed: PackedSequences) -> Tensor:
        """Compute hidden states [tokens, hidden]; with a ``LastLayer``, of first tokens only [sequences, hidden].

        Rows behind these, if any, only fill up.
        """
        x = self.embeddings(packed)
        rows, hidden = x.shape
        # One buffer for all layers: fresh memory costs as much to touch as to compute with.
        qkv, context, intermediate = x.new_empty(rows, 3 * hidden), x.new_zeros(rows, hidden), None
        for layer in self.layers:
            qkv = layer.qkv(x, qkv)
            self.attend(*split_heads(qkv, self.heads), packed.bounds, context.view(rows, self.heads, -1))
            layer.attention_out.add_to(x, context)
            x = layer.attention_norm(x)
            x, intermediate = self._feed_forward(layer, x, intermediate)
        return x if self.last is None else self._first_tokens(self.last, x, packed.bounds)

    def _feed_forward(
        self, layer: Layer | LastLayer, x: Tensor, intermediate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the layer's second half; return it with the buffer that it used."""
        intermediate = layer.up(x, intermediate)
        self.activation(intermediate)
        layer.down.add_to(x, intermediate)
        return layer.norm(x), intermediate

    def _first_tokens(self, layer: LastLayer, x: Tensor, bounds: Bounds) -> Tensor:
        first = filled_up(x[bounds.starts])
        context = layer.attention(x, first, self.heads, self.attend, bounds)
        layer.attention_out.add_to(first, context)
        return self._feed_forward(layer, layer.attention_norm(first))[0]


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split query, key and value [tokens, heads, width] out of the three side by side [tokens, 3 * hidden]."""
    query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)
    return query, key, value


def filled_up(rows: Tensor) -> Tensor:
    """Fill up rows with zeros, to as many as a product should have."""
    missing = filled(len(rows)) - len(rows)
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows
