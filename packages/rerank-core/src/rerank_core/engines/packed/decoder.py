"""The decoder stack of Llama and its relatives, over sequences laid end to end.

There is no padding, and no cache of what was generated: a decoder is read once, as an encoder is. Only attention and
rotary positions know sequences; every other operation works on rows, one a token. The norm stands before each sublayer:

    x = embeddings
    each layer:   x = x + attention(norm(x));   x = x + down(silu(gate(norm(x))) * up(norm(x)))
    x = norm(x)

Nothing is computed that nobody reads. Of a prefix, which several sequences share, that is the keys and values of each
layer; of a sequence, where one token is read, the last layer's keys and values of all tokens, and the rest of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.encoder import PackedSequences, filled_up
from rerank_core.engines.packed.ops.activations import Gate
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.continued import ContinuedAttention, KeysValues, LayerKeys, Places
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.norm import FusedRMSNorm, RMSNorm
from rerank_core.engines.packed.ops.rotary import Angles, Rotary
from rerank_core.engines.packed.prefixes import PrefixKeysValues


@dataclass(frozen=True, slots=True)
class TokenEmbeddings:
    """The table of tokens [entries, hidden], ``dtype`` of what is computed with, and a factor where there is one."""

    tokens: Tensor
    dtype: torch.dtype
    scale: Tensor | None

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Compute the first hidden states [tokens, hidden]."""
        x = self.tokens[token_ids].to(self.dtype)
        return x if self.scale is None else x * self.scale


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Attention and gated feed-forward. ``query_norm`` and ``key_norm`` normalise heads, where a family has them."""

    products: ClassVar[tuple[str, ...]] = ("query", "key", "value", "attention_out", "gate", "up", "down")

    query: Linear
    key: Linear
    value: Linear
    query_norm: RMSNorm | FusedRMSNorm | None
    key_norm: RMSNorm | FusedRMSNorm | None
    attend: ContinuedAttention
    attention_out: Linear
    attention_norm: RMSNorm | FusedRMSNorm
    gate: Linear
    up: Linear
    down: Linear
    norm: RMSNorm | FusedRMSNorm


class _Buffers(dict[str, Tensor]):
    """Memory by name that all layers use in turn: fresh memory costs as much to touch as to compute with."""

    def product(self, name: str, linear: Linear, x: Tensor) -> Tensor:
        """Compute a product in the memory that the last one of this name, and of as many rows, has used."""
        before = self.get(name)
        self[name] = linear(x, before if before is not None and len(before) == len(x) else None)
        return self[name]


@dataclass(frozen=True, slots=True)
class Decoder:
    """The whole stack.

    ``key_heads``: the heads of keys and values in a layer; ``head_width``: the numbers of a query, a key or a value in
    one head.
    """

    embeddings: TokenEmbeddings
    layers: tuple[DecoderLayer, ...]
    key_heads: int
    head_width: int
    rotary: Rotary
    gated: Gate
    final_norm: RMSNorm | FusedRMSNorm

    @property
    def token_bytes(self) -> int:
        """The memory of the keys and values of one token in all layers."""
        return len(self.layers) * 2 * self.key_heads * self.head_width * self.embeddings.dtype.itemsize

    def __call__(
        self,
        packed: PackedSequences,
        prefixes: Sequence[PrefixKeysValues | None] | None = None,
        *,
        last_only: bool = False,
    ) -> Tensor:
        """Compute the hidden states of tokens [tokens, hidden], or of each sequence's last one [sequences, hidden].

        ``prefixes`` has the prefix of each sequence, which ``packed`` leaves out; None: no sequence has one. Rows
        behind these, if any, only fill up.
        """
        prefixes = prefixes or [None] * len(packed.bounds.starts)
        places = Places(packed.bounds, packed.bounds, [len(prefix) if prefix else 0 for prefix in prefixes])
        angles, buffers = self.rotary.angles(packed.position_ids), _Buffers()
        x = self.embeddings(packed.token_ids)
        for number, layer in enumerate(self.layers):
            before = [None if prefix is None else prefix.layers[number] for prefix in prefixes]
            normed = layer.attention_norm(x)
            own = self._keys_values(layer, normed, angles)
            if last_only and number == len(self.layers) - 1:
                last = packed.bounds.offsets[1:] - 1
                x, normed = filled_up(x[last]), filled_up(normed[last])
                angles = self.rotary.angles(functional.pad(packed.position_ids[last], (0, len(x) - len(last))))
                each = list(range(len(last) + 1))
                queries = Bounds(each, torch.tensor(each, dtype=torch.int32, device=x.device))
                places = Places(queries, packed.bounds, places.prefix_lengths)
            self._attend(layer, x, normed, angles, LayerKeys(own, before, places), buffers)
            self._feed_forward(layer, x, buffers)
        return self.final_norm(x)

    def keys_values(self, packed: PackedSequences) -> list[PrefixKeysValues]:
        """Compute the keys and values of sequences that are prefixes."""
        bounds = packed.bounds
        none: list[KeysValues | None] = [None] * len(bounds.starts)
        places = Places(bounds, bounds, [0] * len(none))
        angles, buffers = self.rotary.angles(packed.position_ids), _Buffers()
        x, kept = self.embeddings(packed.token_ids), []
        for number, layer in enumerate(self.layers):
            normed = layer.attention_norm(x)
            own = self._keys_values(layer, normed, angles)
            kept.append(
                [(own[0][rows].clone(), own[1][rows].clone()) for rows in starmap(slice, pairwise(bounds.places))]
            )
            if number < len(self.layers) - 1:
                self._attend(layer, x, normed, angles, LayerKeys(own, none, places), buffers)
                self._feed_forward(layer, x, buffers)
        return [PrefixKeysValues(layers) for layers in zip(*kept, strict=True)]

    def _keys_values(self, layer: DecoderLayer, normed: Tensor, angles: Angles) -> KeysValues:
        """Compute keys and values of all rows. The keys are rotated."""
        key = layer.key(normed).view(len(normed), -1, self.head_width)
        value = layer.value(normed).view(len(normed), -1, self.head_width)
        if layer.key_norm is not None:
            key = layer.key_norm(key)
        angles.rotate(key)
        return key, value

    def _attend(
        self,
        layer: DecoderLayer,
        x: Tensor,
        normed: Tensor,
        angles: Angles,
        keys: LayerKeys,
        buffers: _Buffers,
    ) -> None:
        """Add the layer's first half to ``x``; ``normed`` is what it reads, of the same rows."""
        query = buffers.product("query", layer.query, normed).view(len(x), -1, self.head_width)
        if layer.query_norm is not None:
            query = layer.query_norm(query)
        angles.rotate(query)
        context = torch.zeros_like(query)
        layer.attend(query, keys, context)
        layer.attention_out.add_to(x, context.view(len(x), -1))

    def _feed_forward(self, layer: DecoderLayer, x: Tensor, buffers: _Buffers) -> None:
        """Add the layer's second half to ``x``."""
        normed = layer.norm(x)
        gate = buffers.product("gate", layer.gate, normed)
        up = buffers.product("up", layer.up, normed)
        layer.down.add_to(x, self.gated(gate, up))
