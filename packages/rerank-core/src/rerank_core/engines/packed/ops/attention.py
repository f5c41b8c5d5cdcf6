"""Scaled dot-product attention over sequences laid end to end: each token attends to its own sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 64  # queries: fewer would make many small products, more would look at keys that none of them may see


@dataclass(frozen=True, slots=True)
class Bounds:
    """The start of each sequence, and at the end the number of tokens: the same numbers twice.

    ``places`` [sequences + 1] for loops, and ``offsets``, int32 on the device, for a kernel that takes them all.
    ``at_most``: tokens of a sequence, where ``places`` is empty because nobody but a kernel reads bounds.
    """

    places: Sequence[int]
    offsets: Tensor
    at_most: int = 0

    @property
    def starts(self) -> Tensor:
        """The place of each sequence's first token."""
        return self.offsets[:-1]

    @property
    def longest(self) -> int:
        """The tokens of the longest sequence, or more."""
        return self.at_most or max(end - start for start, end in pairwise(self.places))


def aligned(mask: Tensor) -> Tensor:
    """Return a part of a mask where a device's kernels can read it: for some, memory has to begin at multiples of 16.

    torch sees to that for a part's width, not for where it begins: the device fails with "misaligned address".
    """
    return mask if mask.device.type == "cpu" else mask.clone()


class Attention(Protocol):
    """softmax(q k^T / sqrt(width)) v, for each head of each sequence."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """Write the context into ``out``. All are [tokens, heads, width]; nobody reads rows behind the last bound."""
        ...


def per_sequence(query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
    """Attend in one call for each sequence: on any device, in any floating-point type."""
    query, key, value = (part[None].transpose(1, 2) for part in (query, key, value))
    for start, end in pairwise(bounds.places):
        rows = slice(start, end)
        attended = functional.scaled_dot_product_attention(query[:, :, rows], key[:, :, rows], value[:, :, rows])
        out[rows].copy_(attended[0].transpose(0, 1))


class LocalAttention:
    """Attends to tokens at most ``reach`` places away, on any device: the cost grows linearly with a sequence's length.

    A sequence is computed in blocks of queries, each against the keys that any of them may see. Blocks are counted from
    the sequence's own start, so that its company changes no bit.
    """

    def __init__(self, reach: int, *, device: str, dtype: torch.dtype) -> None:
        self._reach = reach
        # The mask of a block [queries, keys], whose first key is ``reach`` places before its first query.
        ahead = torch.arange(_BLOCK + 2 * reach) - torch.arange(_BLOCK)[:, None]
        is_near = (ahead >= 0) & (ahead <= 2 * reach)
        self._mask = torch.where(is_near, 0.0, -torch.inf).to(device, dtype)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        query, key, value = (part[None].transpose(1, 2) for part in (query, key, value))
        for start, end in pairwise(bounds.places):
            if end - start <= self._reach + 1:  # each token sees all others
                self._attend(query, key, value, slice(start, end), slice(start, end), None, out)
                continue
            for first in range(start, end, _BLOCK):
                rows = slice(first, min(first + _BLOCK, end))
                seen = slice(max(first - self._reach, start), min(rows.stop + self._reach, end))
                left = seen.start - (first - self._reach)
                mask = aligned(self._mask[: rows.stop - first, left : left + seen.stop - seen.start])
                self._attend(query, key, value, rows, seen, mask, out)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, rows: slice, seen: slice, mask: Tensor | None, out: Tensor
    ) -> None:
        attended = functional.scaled_dot_product_attention(query[:, :, rows], key[:, :, seen], value[:, :, seen], mask)
        out[rows].copy_(attended[0].transpose(0, 1))


class Bias(Protocol):
    """What a family adds to the products of queries and keys, by the distance of their tokens."""

    @property
    def scale(self) -> float:
        """The factor of these products, to which the bias is added."""
        ...

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """Compute [heads, queries, keys] for a sequence's first queries and its keys, both [heads, tokens, width]."""
        ...


@dataclass(frozen=True, slots=True)
class BiasedAttention:
    """Attends with a bias, in one call for each sequence."""

    bias: Bias

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        query, key, value = (part.transpose(0, 1) for part in (query, key, value))
        for start, end in pairwise(bounds.places):
            rows = slice(start, end)
            q, k, v = query[:, rows], key[:, rows], value[:, rows]
            bias = self.bias(q, k)
            attended = functional.scaled_dot_product_attention(
                q[None], k[None], v[None], bias[None], scale=self.bias.scale
            )
            out[rows].copy_(attended[0].transpose(0, 1))
