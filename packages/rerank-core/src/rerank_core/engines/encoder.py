"""The encoder stack of BERT and its family, over sequences laid end to end.

There is no padding and no mask: every operation but attention works on rows, one a token, and does not care whose
they are; attention runs once for each sequence. As in "Attention Is All You Need", with the norm after each residual:

    x = norm(embeddings)
    each layer:   x = norm(x + attention(x));   x = norm(x + down(gelu(up(x))))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.linear import MIN_ROWS, Linear


@dataclass(frozen=True, slots=True)
class Run:
    """Sequences laid end to end: int64 ids [tokens] of words, positions and types, and where each sequence begins.

    ``bounds`` [sequences + 1] ends with the number of tokens. Rows behind it only fill the run up to ``MIN_ROWS``.
    """

    words: Tensor
    positions: Tensor
    types: Tensor | None
    bounds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """The normalised rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Tables of words, positions and types [entries, width], their norm, and a projection where widths differ."""

    words: Tensor
    positions: Tensor
    types: Tensor | None
    norm: Norm
    projection: Linear | None = None

    def __call__(self, run: Run) -> Tensor:
        """The first hidden states [tokens, hidden]."""
        x = self.words[run.words].to(self.positions.dtype)
        x += self.positions[run.positions]
        if self.types is not None:
            x += self.types[0] if run.types is None else self.types[run.types]
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


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A layer of which only the first token of each sequence is wanted.

    Then only its query is needed, and keys and values need not be computed at all: for each head, q·(W_k x) is
    (W_k^T q)·x, and the weighted sum of W_v x is W_v applied to the weighted sum of x. The key's bias adds the same to
    every weight before the softmax, and so nothing. ``key`` and ``value`` are [heads, head width, hidden].
    """

    query: Linear
    key: Tensor
    value: Tensor
    value_bias: Tensor
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
    last: LastLayer | None = None

    def __call__(self, run: Run) -> Tensor:
        """Hidden states of every token [tokens, hidden]; with a ``LastLayer``, of each first one [sequences, hidden].

        Rows behind these, if any, only fill up.
        """
        x = self.embeddings(run)
        rows, hidden = x.shape
        # One buffer for all layers: fresh memory costs as much to touch as to compute with.
        qkv, context, wide = x.new_empty(rows, 3 * hidden), x.new_zeros(rows, hidden), None
        for layer in self.layers:
            qkv = layer.qkv(x, qkv)
            self._attend(qkv, run.bounds, context)
            layer.attention_out.add_to(x, context)
            x = layer.attention_norm(x)
            x, wide = self._feed_forward(layer, x, wide)
        return x if self.last is None else self._first_tokens(self.last, x, run.bounds)

    def _attend(self, qkv: Tensor, bounds: Sequence[int], context: Tensor) -> None:
        """softmax(q k^T / sqrt(width)) v into ``context``, for each head of each sequence."""
        hidden = context.shape[1]
        query, key, value = (
            part.view(1, -1, self.heads, hidden // self.heads).transpose(1, 2) for part in qkv.split(hidden, dim=1)
        )
        for start, end in pairwise(bounds):
            rows = slice(start, end)
            attended = functional.scaled_dot_product_attention(query[:, :, rows], key[:, :, rows], value[:, :, rows])
            context[rows].view(1, end - start, self.heads, -1).copy_(attended.transpose(1, 2))

    def _feed_forward(self, layer: Layer | LastLayer, x: Tensor, wide: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layer's second half, and the buffer that it used."""
        wide = layer.up(x, wide)
        self.activation(wide)
        layer.down.add_to(x, wide)
        return layer.norm(x), wide

    def _first_tokens(self, layer: LastLayer, x: Tensor, bounds: Sequence[int]) -> Tensor:
        first = filled_up(x[list(bounds[:-1])])
        heads, width, _ = layer.key.shape
        queries = (layer.query(first) / width**0.5).view(-1, heads, width).transpose(0, 1)
        asked = torch.bmm(queries, layer.key)  # W_k^T q, for each head of each sequence [heads, sequences, hidden]
        mixed = torch.zeros_like(asked)
        for row, (start, end) in enumerate(pairwise(bounds)):
            sequence = x[start:end]
            weights = torch.softmax(asked[:, row] @ sequence.t(), dim=1)
            mixed[:, row] = weights @ sequence
        context = torch.bmm(mixed, layer.value.transpose(1, 2)).transpose(0, 1).reshape(first.shape)
        context += layer.value_bias
        layer.attention_out.add_to(first, context)
        return self._feed_forward(layer, layer.attention_norm(first))[0]


def filled_up(rows: Tensor) -> Tensor:
    """The rows, with zeros behind them where they are fewer than a product needs to be the same for each of them."""
    missing = MIN_ROWS - rows.shape[0]
    return rows if missing <= 0 else functional.pad(rows, (0, 0, 0, missing))
