"""Scaled dot-product attention over sequences laid end to end: each token attends to its own sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Bounds:
    """The start of each sequence, and at the end the number of tokens: the same numbers twice.

    ``places`` [sequences + 1] for loops, and ``offsets``, int32 on the device, for a kernel that takes them all.
    """

    places: Sequence[int]
    offsets: Tensor

    @property
    def starts(self) -> Tensor:
        """The place of each sequence's first token."""
        return self.offsets[:-1]

    @property
    def longest(self) -> int:
        """The tokens of the longest sequence."""
        return max(end - start for start, end in pairwise(self.places))


class Attention(Protocol):
    """softmax(q k^T / sqrt(width)) v, for each head of each sequence."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """Write the context into ``out``. All four are [tokens, heads, width]; rows behind the last bound are left."""
        ...


def per_sequence(query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
    """Attend in one call for each sequence: on any device, in any floating-point type."""
    query, key, value = (part[None].transpose(1, 2) for part in (query, key, value))
    for start, end in pairwise(bounds.places):
        rows = slice(start, end)
        attended = functional.scaled_dot_product_attention(query[:, :, rows], key[:, :, rows], value[:, :, rows])
        out[rows].copy_(attended[0].transpose(0, 1))


def variable_length(query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
    """Attend in one kernel for all sequences: on CUDA, in float16 or bfloat16, with a torch that has it."""
    from torch.nn.attention.varlen import varlen_attn

    tokens = slice(bounds.places[-1])
    offsets, longest = bounds.offsets, bounds.longest
    attended = varlen_attn(query[tokens], key[tokens], value[tokens], offsets, offsets, longest, longest)
    out[tokens].copy_(cast("Tensor", attended))  # alone: nothing was asked for beside it
