"""Attention in bfloat16, with sums and softmax in float32.

For each head of each sequence: queries, keys and values are rounded and laid out; then, for 32 queries at a time, all
scores are computed, turned into weights and multiplied with the values. Query heads that share a key head find it laid
out. Nothing is shared between sequences.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from rerank_core.engines.packed.kernels.activations import power_of
from rerank_core.engines.packed.kernels.attention import AttentionKernel
from rerank_core.engines.packed.kernels.instructions import best_sums
from rerank_core.engines.packed.kernels.products import OPERATIONS_PER_MICROSECOND, place_of
from rerank_core.engines.packed.kernels.scores import hide_unseen, largest_everywhere
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
    scores: Any,
    rows: Any,
    row_bytes: Any,
    depth: Any,
    place: Any,
    keys: Any,
    behind: Any,
    ahead: Any,
    weights: Any,
    sums: Any,
) -> None:
    """Turn rows of scores into powers of two in bfloat16, and keep one over each row's sum.

    There are scores of 32 times ``depth`` keys. The first row stands at the key ``place`` and sees so many keys
    ``behind`` and ``ahead`` of its own, of the first ``keys``; each other row stands one further.
    """
    for row in range(rows):
        source = scores + row * row_bytes
        end = source + depth * ROW_BYTES
        hide_unseen(source, end, place + row, keys, behind, ahead)
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
        query_bytes: Any,
        rows: Any,
        key: Any,
        value: Any,
        key_bytes: Any,
        tokens: Any,
        key_heads: Any,
        shared: Any,
        width: Any,
        behind: Any,
        ahead: Any,
        scale: Any,
        out: Any,
        out_bytes: Any,
        buffer: Any,
    ) -> None:
        """Attend within one sequence, see ``AttentionKernel``."""
        depth, inner = (tokens + 31) // 32, width // 32
        queries = buffer + BLOCK_BYTES
        keys = queries + (rows + 31) // 32 * inner * PAIR_BYTES
        values = keys + depth * inner * PAIR_BYTES
        scores = values + depth * inner * PAIR_BYTES
        weights = scores + depth * BLOCK_BYTES
        shares = weights + depth * PAIR_BYTES
        begin_sums()
        for head in range(key_heads * shared):
            if head % shared == 0:
                side = head // shared * width * 4
                _lay_out_keys(key + side, tokens, key_bytes, width, keys, buffer)
                _lay_out_values(value + side, tokens, key_bytes, width, values)
            side = head * width * 4
            _lay_out_queries(query + side, rows, query_bytes, width, scale, queries)
            for first in range(0, rows, 32):
                count = min(rows - first, 32)
                place = tokens - rows + first
                query_tiles = queries + first // 32 * inner * PAIR_BYTES
                start = max(place - behind, 0) // 32
                skipped = start * 32
                groups = (min(place + count + ahead, tokens) + 31) // 32 - start
                for group in range(groups):
                    key_tiles = keys + (start + group) * inner * PAIR_BYTES
                    target = scores + group * ROW_BYTES
                    add_up_bfloat16(query_tiles, key_tiles, inner, count, False, target, depth * ROW_BYTES, 0, 0, 0)
                _weigh(
                    scores,
                    count,
                    depth * ROW_BYTES,
                    groups,
                    place - skipped,
                    tokens - skipped,
                    behind,
                    ahead,
                    weights,
                    shares,
                )
                for part in range(inner):
                    value_tiles = values + (part * depth + start) * PAIR_BYTES
                    add_up_bfloat16(weights, value_tiles, groups, count, False, buffer, ROW_BYTES, 0, 0, 0)
                    for row in range(count):
                        share = splat(load_float(shares + row * 4))
                        target = out + (first + row) * out_bytes + side + part * ROW_BYTES
                        store(target, load(buffer + row * ROW_BYTES) * share)
                        store(target + 64, load(buffer + row * ROW_BYTES + 64) * share)
        end_sums()

    return attend_within


def buffer_bytes(rows: int, tokens: int, width: int) -> int:
    """See ``AttentionKernel``."""
    depth, inner = -(-tokens // 32), width // 32
    laid_out = (-(-rows // 32) + 2 * depth) * inner * PAIR_BYTES
    return BLOCK_BYTES + laid_out + depth * (BLOCK_BYTES + PAIR_BYTES) + 32 * 4


def attention_kernel(sums: Sums | None = None) -> AttentionKernel:
    """Return the kernel. ``sums``: what it is made of; by default the fastest that this machine has."""
    attend_within = _attending(best_sums() if sums is None else sums)
    return AttentionKernel(attend_within, buffer_bytes, OPERATIONS_PER_MICROSECOND)
