"""Attention of decoders: a few query heads share a key head, and each token sees those up to its own place.

A sequence may be continued: the keys and values of its first tokens, its prefix, were computed before, and its queries
are those of its last tokens. However many sequences share a prefix, each is computed alone, from shapes that its own
length and its prefix's decide: its company changes no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.ops.attention import Bounds, aligned
from rerank_core.engines.packed.ops.varlen import EVERYWHERE, VarlenKernel

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""Of some tokens in one layer, both [tokens, key heads, width]; keys are rotated."""

_BLOCK = 64  # queries: fewer would make many small products, more would look at keys that none of them may see


@dataclass(frozen=True)
class Places:
    """Where the queries and the own keys of each sequence lie, and how many tokens its prefix has (0: it has none).

    The queries are those of a sequence's last tokens: of all that are not in the prefix, or of fewer.
    """

    queries: Bounds
    keys: Bounds
    prefix_lengths: Sequence[int]
    _joined: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def joined(self) -> Bounds:
        """The bounds of each sequence's keys, those of its prefix among them."""
        places = [0]
        for prefix, (start, end) in zip(self.prefix_lengths, pairwise(self.keys.places), strict=True):
            places.append(places[-1] + prefix + end - start)
        return Bounds(places, torch.tensor(places, dtype=torch.int32, device=self.keys.offsets.device))

    def joined_rows(self, prefixes: Sequence[object]) -> Tensor:
        """Return where each row of the joined keys lies, if all distinct prefixes lie before the sequences' own keys.

        They are asked for in every layer, and the same in all. ``prefixes``: of each sequence, None: it has none.
        """
        if "rows" not in self._joined:
            starts: dict[int, int] = {}
            behind = 0
            for prefix, length in zip(prefixes, self.prefix_lengths, strict=True):
                if prefix is not None and id(prefix) not in starts:
                    starts[id(prefix)] = behind
                    behind += length
            pieces = []
            for prefix, length, (first, end) in zip(
                prefixes, self.prefix_lengths, pairwise(self.keys.places), strict=True
            ):
                start = starts.get(id(prefix), 0)
                pieces += [np.arange(start, start + length), np.arange(behind + first, behind + end)]
            self._joined["rows"] = torch.from_numpy(np.concatenate(pieces)).to(self.keys.offsets.device)
        return self._joined["rows"]


@dataclass(frozen=True, slots=True)
class LayerKeys:
    """The keys and values of a layer: the sequences' own, end to end, and those of each one's prefix."""

    own: KeysValues
    before: Sequence[KeysValues | None]
    places: Places


class ContinuedAttention(Protocol):
    """softmax(q k^T / sqrt(width)) v, for each head of each sequence."""

    def __call__(self, query: Tensor, keys: LayerKeys, out: Tensor) -> None:
        """Write the context into ``out``, [rows, heads, width] as ``query``; rows behind the last bound are left."""
        ...


class AttentionInBlocks:
    """Attends in blocks of queries, each against the keys that any of them may see: on any device, in any type.

    Blocks are counted from a sequence's first query. ``reach``: how many places back a token is seen; None: all.
    """

    def __init__(self, *, reach: int | None, positions: int, device: str, dtype: torch.dtype) -> None:
        """``positions``: the most tokens that a sequence has."""
        self._reach = positions if reach is None else min(reach, positions)
        # The mask of a block [queries, keys], whose first key is ``reach`` places before its first query. It is all
        # zeros but at the edges, and zeros that nobody has written take no memory.
        self._mask = torch.zeros(_BLOCK, self._reach + _BLOCK, device=device, dtype=dtype)
        row, column = torch.arange(_BLOCK)[:, None], torch.arange(_BLOCK)
        self._mask[:, -_BLOCK:][(column > row).to(device)] = -torch.inf  # those behind
        if self._reach < positions:
            self._mask[:, :_BLOCK][(column < row).to(device)] = -torch.inf  # those too far back

    def __call__(self, query: Tensor, keys: LayerKeys, out: Tensor) -> None:
        """See ``ContinuedAttention``."""
        join = Join(keys)
        for number, (first, end) in enumerate(pairwise(keys.places.queries.places)):
            key, value = join(number)
            behind = len(key) - end  # from a query's row to its place in the sequence
            for start in range(first, end, _BLOCK):
                rows = slice(start, min(start + _BLOCK, end))
                seen = slice(max(start + behind - self._reach, 0), rows.stop + behind)
                left = seen.start - (start + behind - self._reach)
                mask = aligned(self._mask[: rows.stop - start, left : left + seen.stop - seen.start])
                _attend(query[rows], key[seen], value[seen], mask, out[rows])


def whole_sequences(query: Tensor, keys: LayerKeys, out: Tensor) -> None:
    """Attend to the whole sequence, places behind as well, which no sequence with a prefix can: on any device."""
    key, value = keys.own
    places = keys.places
    for queries, own in zip(pairwise(places.queries.places), pairwise(places.keys.places), strict=True):
        rows, seen = slice(*queries), slice(*own)
        _attend(query[rows], key[seen], value[seen], None, out[rows])


@dataclass(frozen=True, slots=True)
class ContinuedVarlenAttention:
    """Attends in one kernel for all sequences.

    The kernel counts places from the ends of the queries and the keys, so fewer queries than keys are those of the last
    tokens.
    """

    kernel: VarlenKernel

    def __call__(self, query: Tensor, keys: LayerKeys, out: Tensor) -> None:
        """See ``ContinuedAttention``."""
        (key, value), places, bounds = keys.own, keys.places, keys.places.keys
        if any(places.prefix_lengths):
            key, value = _end_to_end(keys, 0), _end_to_end(keys, 1)
            bounds = places.joined
        rows, tokens = slice(places.queries.places[-1]), slice(bounds.places[-1])
        out[rows].copy_(self.kernel(query[rows], key[tokens], value[tokens], places.queries, bounds))


def _end_to_end(keys: LayerKeys, part: int) -> Tensor:
    """Lay the keys (``part`` 0) or the values (1) of all sequences end to end, each behind those of its prefix."""
    prefixes = {id(prefix): prefix[part] for prefix in keys.before if prefix is not None}
    return torch.cat([*prefixes.values(), keys.own[part]])[keys.places.joined_rows(keys.before)]


def window_of(*, is_causal: bool, reach: int | None) -> tuple[int, int]:
    """Return how many places back and ahead a token is seen, -1: all. ``reach``: how many back; None: all."""
    return (-1 if reach is None else reach, 0) if is_causal else EVERYWHERE


def decoder_attention(
    *,
    is_causal: bool,
    reach: int | None,
    positions: int,
    device: str,
    dtype: torch.dtype,
    kernel: VarlenKernel | None,
) -> ContinuedAttention:
    """Choose how a layer attends. ``reach``: how many places back a token is seen; None: all."""
    if kernel is not None:
        return ContinuedVarlenAttention(kernel)
    if not is_causal:
        return whole_sequences
    return AttentionInBlocks(reach=reach, positions=positions, device=device, dtype=dtype)


class Join:
    """Lays the keys and the values of a prefix and a sequence's own end to end, in buffers for all sequences.

    A prefix that the last sequence had too lies there already.
    """

    def __init__(self, keys: LayerKeys) -> None:
        self._keys = keys
        longest = keys.places.joined.longest if any(keys.places.prefix_lengths) else 0
        self._buffers = [own.new_empty(longest, *own.shape[1:]) for own in keys.own]
        self._prefix: KeysValues | None = None

    def __call__(self, number: int) -> list[Tensor]:
        """Return the keys and the values of a sequence, for as long as no other is asked for."""
        bounds, prefix = self._keys.places.keys.places, self._keys.before[number]
        own = [part[bounds[number] : bounds[number + 1]] for part in self._keys.own]
        if prefix is None:
            return own
        before, end = len(prefix[0]), len(prefix[0]) + len(own[0])
        for buffer, first, then in zip(self._buffers, prefix, own, strict=True):
            if prefix is not self._prefix:
                buffer[:before] = first
            buffer[before:end] = then
        self._prefix = prefix
        return [buffer[:end] for buffer in self._buffers]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, out: Tensor) -> None:
    """Attend within one sequence. The query heads of one key head lie beside each other, and are read as a batch."""
    rows, heads, width = query.shape
    shared = heads // key.shape[1]
    queries = query.view(rows, -1, shared, width).permute(1, 2, 0, 3)
    keys, values = (part.transpose(0, 1)[:, None].expand(-1, shared, -1, -1) for part in (key, value))
    attended = functional.scaled_dot_product_attention(queries, keys, values, mask)
    out.copy_(attended.permute(2, 0, 1, 3).reshape(rows, heads, width))
