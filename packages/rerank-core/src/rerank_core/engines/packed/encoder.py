"""The encoder stack of BERT and its successors, over sequences laid end to end.

There is no padding and no mask: every operation but attention works on rows, one a token, and does not care whose
they are; attention runs once for each sequence. As in "Attention Is All You Need", with the norm after each residual:

    x = norm(embeddings)
    each layer:   x = norm(x + attention(x));   x = norm(x + down(gelu(up(x))))

or, ``norm_first``, with the norm before attention and feed-forward, and one at the end:

    each layer:   x = x + attention(norm(x));   x = x + down(gelu(up(norm(x))))
    x = norm(x)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.ops.attention import Attention, Bounds
from rerank_core.engines.packed.ops.convolution import Convolution
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.norm import Norm
from rerank_core.engines.packed.ops.rotary import Angles, Rotary


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
class Embeddings:
    """Tables of tokens, positions and types [entries, width], their norm, and a projection where widths differ.

    ``dtype``: of the sum; the table of tokens may have another one.
    """

    tokens: Tensor
    positions: Tensor | None
    types: Tensor | None
    norm: Norm | None
    dtype: torch.dtype
    projection: Linear | None = None

    def __call__(self, packed: PackedSequences) -> Tensor:
        """Compute the first hidden states [tokens, hidden]."""
        x = self.tokens[packed.token_ids].to(self.dtype)
        if self.positions is not None:
            x += self.positions[packed.position_ids]
        if self.types is not None:
            x += self.types[0] if packed.type_ids is None else self.types[packed.type_ids]
        x = x if self.norm is None else self.norm(x)
        return x if self.projection is None else self.projection(x)


@dataclass(frozen=True, slots=True)
class Layer:
    """Attention and feed-forward. ``qkv`` gives query, key and value side by side [tokens, 3 * hidden].

    ``rotary`` rotates queries and keys by their positions, where a family has that. ``attention_norm`` is None where
    nothing is normalised before attention: in the first layer behind normalised embeddings.
    """

    products: ClassVar[tuple[str, ...]] = ("qkv", "attention_out", "up", "down")

    qkv: Linear
    attend: Attention
    rotary: Rotary | None
    attention_out: Linear
    attention_norm: Norm | None
    up: Linear
    down: Linear
    norm: Norm


class LastAttention(Protocol):
    """The attention of first tokens only, to all tokens of their sequences."""

    def __call__(self, x: Tensor, heads: int, packed: PackedSequences) -> Tensor:
        """Compute the context [rows, hidden] of the first tokens of ``x``, filled up."""
        ...


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A layer of which only the first token of each sequence is wanted."""

    attention: LastAttention
    attention_out: Linear
    attention_norm: Norm | None
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class Encoder:
    """The whole stack.

    ``activate`` turns what ``up`` gives into what ``down`` reads, in the same memory. ``final_norm``: at the end of a
    stack with its norms first. ``convolution``: reads what the first layer reads, and is added to what that gives.
    """

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    heads: int
    activate: Callable[[Tensor], Tensor]
    norm_first: bool = False
    final_norm: Norm | None = None
    last: LastLayer | None = None
    convolution: Convolution | None = None

    def __call__(self, packed: PackedSequences) -> Tensor:
        """Compute hidden states [tokens, hidden]; with a ``LastLayer``, of first tokens only [sequences, hidden].

        Rows behind these, if any, only fill up.
        """
        x = self.embeddings(packed)
        rows, hidden = x.shape
        angles: dict[Rotary, Angles] = {}  # of a few kinds of layers, each looked up once
        # One buffer for all layers: fresh memory costs as much to touch as to compute with.
        qkv, context, intermediate = x.new_empty(rows, 3 * hidden), x.new_zeros(rows, hidden), None
        convolved = None if self.convolution is None else self.convolution(x, packed.bounds)
        for layer in self.layers:
            qkv = layer.qkv(self._before(layer.attention_norm, x), qkv)
            query, key, value = split_heads(qkv, self.heads)
            if layer.rotary is not None:
                if layer.rotary not in angles:
                    angles[layer.rotary] = layer.rotary.angles(packed.position_ids)
                angles[layer.rotary].rotate(query)
                angles[layer.rotary].rotate(key)
            layer.attend(query, key, value, packed.bounds, context.view(rows, self.heads, -1))
            x = self._added(layer.attention_norm, layer.attention_out, x, context)
            x, intermediate = self._feed_forward(layer, x, intermediate)
            if self.convolution is not None and convolved is not None:
                x, convolved = self.convolution.norm(x + convolved), None
        if self.last is not None:
            x = self._first_tokens(self.last, x, packed)
        return x if self.final_norm is None else self.final_norm(x)

    def _feed_forward(
        self, layer: Layer | LastLayer, x: Tensor, intermediate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the layer's second half; return it with the buffer that it used."""
        intermediate = layer.up(self._before(layer.norm, x), intermediate)
        return self._added(layer.norm, layer.down, x, self.activate(intermediate)), intermediate

    def _first_tokens(self, layer: LastLayer, x: Tensor, packed: PackedSequences) -> Tensor:
        first = filled_up(x[packed.bounds.starts])
        context = layer.attention(self._before(layer.attention_norm, x), self.heads, packed)
        return self._feed_forward(layer, self._added(layer.attention_norm, layer.attention_out, first, context))[0]

    def _before(self, norm: Norm | None, x: Tensor) -> Tensor:
        """Normalise what a sublayer reads."""
        return norm(x) if self.norm_first and norm is not None else x

    def _added(self, norm: Norm | None, linear: Linear, x: Tensor, read: Tensor) -> Tensor:
        """Add a sublayer's last product to its input ``x``, and normalise the sum where the norm comes behind it."""
        if norm is not None and not self.norm_first:
            return norm.of_sum(x, linear, read)
        linear.add_to(x, read)
        return x


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split query, key and value [tokens, heads, width] out of the three side by side [tokens, 3 * hidden]."""
    query, key, value = qkv.view(len(qkv), 3, heads, -1).unbind(1)
    return query, key, value


def filled_up(rows: Tensor) -> Tensor:
    """Fill up rows with zeros, to as many as a product should have."""
    missing = class_of(rows.device.type).fill(len(rows)) - len(rows)
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows
