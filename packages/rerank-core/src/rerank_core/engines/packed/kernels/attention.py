"""Attention by a kernel, in one call for each sequence: within whole sequences, and behind a prefix.

Which numbers a kernel computes with is its own: see ``bfloat16_attention`` and ``float_attention``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from rerank_core.engines.packed.kernels.activations import LOG2_E
from rerank_core.engines.packed.kernels.memory import SCRATCH, address_of_rows
from rerank_core.engines.packed.kernels.scores import EVERYWHERE
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.continued import Join, LayerKeys
from rerank_core.engines.workers import in_pieces


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """Attends within one sequence, with the queries of its last tokens.

    It takes::

        attend_within(query, query_bytes, rows, key, value, key_bytes, tokens, key_heads, shared, width, behind, ahead,
                      scale, out, out_bytes, buffer)

    All are addresses and numbers: of so many rows and tokens, and of bytes from one to the next. ``shared`` query
    heads, side by side, have a key head together. A token sees so many tokens ``behind`` and ``ahead`` of its own.
    ``scale``: of scores, to powers of two. ``buffer`` is on a cache line and has ``buffer_bytes(rows, tokens, width)``.
    """

    attend_within: Callable[..., None]
    buffer_bytes: Callable[[int, int, int], int]
    operations_per_microsecond: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, out: Tensor, *, behind: int, ahead: int) -> None:
        """Attend, for all heads: [rows, heads, width] and [tokens, key heads, width]."""
        rows, heads, width = query.shape
        tokens, key_heads = key.shape[:2]
        if key.stride(0) != value.stride(0):
            raise TypeError(f"strides of one size are needed, not {key.stride(0)} and {value.stride(0)}")
        queries, outs = (address_of_rows(x.view(rows, -1), rows, heads * width) for x in (query, out))
        keys, values = (address_of_rows(x.view(tokens, -1), tokens, key_heads * width) for x in (key, value))
        shared = heads // key_heads
        query_bytes, key_bytes, out_bytes = (x.stride(0) * 4 for x in (query, key, out))
        scale = np.float32(LOG2_E / math.sqrt(width))
        size = self.buffer_bytes(rows, tokens, width)

        def attend_in(first: int, end: int) -> None:
            """Attend with some of the key heads."""
            side, key_side = first * shared * width * 4, first * width * 4
            self.attend_within(
                queries + side,
                query_bytes,
                rows,
                keys + key_side,
                values + key_side,
                key_bytes,
                tokens,
                end - first,
                shared,
                width,
                behind,
                ahead,
                scale,
                outs + side,
                out_bytes,
                SCRATCH.address("attention", size),
            )

        seen = min(tokens, behind + 1 + ahead)
        in_pieces(attend_in, key_heads, 1, 2 * rows * seen * heads * width / self.operations_per_microsecond)


@dataclass(frozen=True, slots=True)
class KernelAttention:
    """See ``Attention``. ``reach``: how far away a token sees others; None: everywhere."""

    kernel: AttentionKernel
    reach: int | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``. The width of heads is a multiple of 32."""
        reach = EVERYWHERE if self.reach is None else self.reach
        for start, end in pairwise(bounds.places):
            rows = slice(start, end)
            self.kernel(query[rows], key[rows], value[rows], out[rows], behind=reach, ahead=reach)


@dataclass(frozen=True, slots=True)
class ContinuedKernelAttention:
    """See ``ContinuedAttention``. ``reach``: how many places back a token is seen; None: all."""

    kernel: AttentionKernel
    is_causal: bool
    reach: int | None = None

    def __call__(self, query: Tensor, keys: LayerKeys, out: Tensor) -> None:
        """See ``ContinuedAttention``. The width of heads is a multiple of 32."""
        behind = EVERYWHERE if self.reach is None else self.reach
        join, ahead = Join(keys), 0 if self.is_causal else EVERYWHERE
        for number, (start, end) in enumerate(pairwise(keys.places.queries.places)):
            key, value = join(number)
            self.kernel(query[start:end], key, value, out[start:end], behind=behind, ahead=ahead)
