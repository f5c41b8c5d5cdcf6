"""Attention in bfloat16, with sums and softmax in float32.

For each head of each sequence: queries, keys and values are rounded and laid out; then, for 32 queries at a time, all
scores are computed, turned into weights and multiplied with the values. Nothing is shared between sequences.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from rerank_core.engines.packed.kernels.activations import LOG2_E, power_of
from rerank_core.engines.packed.kernels.instructions import best_sums
from rerank_core.engines.packed.kernels.memory import SCRATCH, address_of_rows
from rerank_core.engines.packed.kernels.products import OPERATIONS_PER_MICROSECOND, place_of
from rerank_core.engines.packed.kernels.scores import EVERYWHERE, hide_unseen, largest_everywhere
from rerank_core.engines.packed.kernels.sums import BLOCK_BYTES, PAIR_BYTES, ROW_BYTES, TILE_BYTES, Sums, kernel
from rerank_core.engines.packed.kernels.vectors import (
    load,
    load_float,
    load_int,
    splat,
    store,
    store_bfloat16,
    store_float,
    store_int,
    store_pairs,
    total,
)
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.workers import in_pieces


@kernel
def _lay_out_queries(x: Any, tokens: Any, row_bytes: Any, width: Any, scale: Any, tiles: Any) -> None:
    factor = splat(scale)
    for token in range(tokens):
        source = x + token * row_bytes
        target = place_of(tiles, token, width // 32)
        for first in range(0, width, 32):
            store_bfloat16(target, load(source + first * 4) * factor)
            store_bfloat16(target + 32, load(source + first * 4 + 64) * factor)
            target += PAIR_BYTES


@kernel
def _lay_out_keys(x: Any, tokens: Any, row_bytes: Any, width: Any, tiles: Any, buffer: Any) -> None:
    """Lay keys out as outputs of a weight: two dimensions of 16 keys stand side by side."""
    for token in range(tokens):
        source = x + token * row_bytes
        target = tiles + token // 32 * (width // 32) * PAIR_BYTES + token % 32 // 16 * TILE_BYTES + token % 16 * 4
        for first in range(0, width, 32):
            store_bfloat16(buffer, load(source + first * 4))
            store_bfloat16(buffer + 32, load(source + first * 4 + 64))
            for pair in range(16):
                store_int(target + pair * 64, load_int(buffer + pair * 4))
            target += PAIR_BYTES


@kernel
def _lay_out_values(x: Any, tokens: Any, row_bytes: Any, width: Any, tiles: Any) -> None:
    """Lay values out as inputs of a weight: two keys of 16 dimensions stand side by side; zeros behind the last."""
    depth = (tokens + 31) // 32
    nothing = splat(np.float32(0))
    for token in range(0, depth * 32, 2):
        source = x + token * row_bytes
        target = tiles + token // 32 * PAIR_BYTES + token % 32 * 32
        for first in range(0, width, 16):
            even = load(source + first * 4) if token < tokens else nothing
            odd = load(source + row_bytes + first * 4) if token + 1 < tokens else nothing
            store_pairs(target + first // 32 * depth * PAIR_BYTES + first % 32 // 16 * TILE_BYTES, even, odd)


@kernel
def _weigh(
    scores: Any, rows: Any, row_bytes: Any, depth: Any, place: Any, keys: Any, reach: Any, weights: Any, sums: Any
) -> None:
    """Turn rows of scores into powers of two in bfloat16, and keep one over each row's sum.

    There are scores of 32 times ``depth`` keys. The first row stands at the key ``place`` and sees those at most
    ``reach`` away, of the first ``keys``; each other row stands one further.
    """
    for row in range(rows):
        source = scores + row * row_bytes
        end = source + depth * ROW_BYTES
        hide_unseen(source, end, place + row, keys, reach, reach)
        top = largest_everywhere(source, end)
        target = place_of(weights, row, depth)
        added = splat(np.float32(0))
        for part in range(source, end, ROW_BYTES):
            first, second = power_of(load(part) - top), power_of(load(part + 64) - top)
            added = added + first + second
            store_bfloat16(target, first)
            store_bfloat16(target + 32, second)
            target += PAIR_BYTES
        store_float(sums + row * 4, np.float32(1) / total(added))


@cache
def _attending(sums_of: Sums) -> Any:
    """Make the attention within one sequence out of some sums."""
    begin_sums, end_sums, add_up_bfloat16 = sums_of.begin, sums_of.end, sums_of.add_up_bfloat16

    @kernel
    def attend_within(
        query: Any,
        key: Any,
        value: Any,
        row_bytes: Any,
        tokens: Any,
        heads: Any,
        width: Any,
        reach: Any,
        scale: Any,
        out: Any,
        out_bytes: Any,
        buffer: Any,
    ) -> None:
        """Attend within one sequence, to tokens at most ``reach`` away.

        ``buffer`` holds what ``buffer_bytes`` says, on a cache line.
        """
        depth, inner = (tokens + 31) // 32, width // 32
        queries = buffer + BLOCK_BYTES
        keys = queries + depth * inner * PAIR_BYTES
        values = keys + depth * inner * PAIR_BYTES
        scores = values + depth * inner * PAIR_BYTES
        weights = scores + depth * BLOCK_BYTES
        shares = weights + depth * PAIR_BYTES
        begin_sums()
        for head in range(heads):
            side = head * width * 4
            _lay_out_queries(query + side, tokens, row_bytes, width, scale, queries)
            _lay_out_keys(key + side, tokens, row_bytes, width, keys, buffer)
            _lay_out_values(value + side, tokens, row_bytes, width, values)
            for first in range(0, tokens, 32):
                rows = min(tokens - first, 32)
                query_tiles = queries + first // 32 * inner * PAIR_BYTES
                start = max(first - reach, 0) // 32
                count = (min(first + rows + reach, tokens) + 31) // 32 - start
                for group in range(count):
                    key_tiles = keys + (start + group) * inner * PAIR_BYTES
                    place = scores + group * ROW_BYTES
                    add_up_bfloat16(query_tiles, key_tiles, inner, rows, False, place, depth * ROW_BYTES, 0, 0, 0)
                skipped = start * 32
                _weigh(
                    scores, rows, depth * ROW_BYTES, count, first - skipped, tokens - skipped, reach, weights, shares
                )
                for part in range(inner):
                    value_tiles = values + (part * depth + start) * PAIR_BYTES
                    add_up_bfloat16(weights, value_tiles, count, rows, False, buffer, ROW_BYTES, 0, 0, 0)
                    for row in range(rows):
                        share = splat(load_float(shares + row * 4))
                        place = out + (first + row) * out_bytes + side + part * ROW_BYTES
                        store(place, load(buffer + row * ROW_BYTES) * share)
                        store(place + 64, load(buffer + row * ROW_BYTES + 64) * share)
        end_sums()

    return attend_within


def buffer_bytes(tokens: int, width: int) -> int:
    """Return the bytes that ``attend_within`` needs for a sequence."""
    depth, inner = -(-tokens // 32), width // 32
    return BLOCK_BYTES + 3 * depth * inner * PAIR_BYTES + depth * (BLOCK_BYTES + PAIR_BYTES) + 32 * 4


class KernelAttention:
    """Attends in one call for each sequence. The width of heads is a multiple of 32."""

    def __init__(self, reach: int | None = None, sums: Sums | None = None) -> None:
        """``reach``: how far away a token sees others; None: everywhere.

        ``sums``: what it is made of; by default the fastest that this machine has.
        """
        self._reach = EVERYWHERE if reach is None else reach
        self._attend = _attending(best_sums() if sums is None else sums)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
        """See ``Attention``."""
        heads, width = query.shape[1:]
        rows, inner = len(query), heads * width
        queries, keys, values, outs = (
            address_of_rows(x.view(len(x), inner), rows, inner) for x in (query, key, value, out)
        )
        if not query.stride(0) == key.stride(0) == value.stride(0):
            raise TypeError(
                f"strides of one size are needed, not {query.stride(0)}, {key.stride(0)} and {value.stride(0)}"
            )
        row_bytes, out_bytes = query.stride(0) * 4, out.stride(0) * 4
        scale = np.float32(LOG2_E / math.sqrt(width))
        for start, end in pairwise(bounds.places):
            tokens = end - start

            def attend(first: int, last: int, start: int = start, tokens: int = tokens) -> None:
                """Attend with some of the heads."""
                side = start * row_bytes + first * width * 4
                self._attend(
                    queries + side,
                    keys + side,
                    values + side,
                    row_bytes,
                    tokens,
                    last - first,
                    width,
                    self._reach,
                    scale,
                    outs + start * out_bytes + first * width * 4,
                    out_bytes,
                    SCRATCH.address("attention", buffer_bytes(tokens, width)),
                )

            in_pieces(
                attend, heads, 1, 2 * tokens * min(tokens, 2 * self._reach + 1) * inner / OPERATIONS_PER_MICROSECOND
            )
