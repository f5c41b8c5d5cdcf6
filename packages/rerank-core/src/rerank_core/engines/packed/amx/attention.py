"""Attention on tiles, in bfloat16 with sums and softmax in float32.

For each head of each sequence: queries, keys and values are rounded and laid out; then, for 32 queries at a time, all
scores are computed, turned into weights and multiplied with the values. Nothing is shared between sequences.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from torch import Tensor

from rerank_core.engines.packed.amx.linear import SCRATCH
from rerank_core.engines.packed.amx.products import SUMS_BYTES, sum_bfloat16
from rerank_core.engines.packed.amx.tiles import CONFIGURATION, TILE_BYTES, configure, release
from rerank_core.engines.packed.amx.vectors import (
    fma,
    larger,
    largest,
    load,
    load_float,
    load_int,
    power_of_two,
    round_even,
    splat,
    store,
    store_bfloat16,
    store_float,
    store_int,
    store_pairs,
    total,
)
from rerank_core.engines.packed.ops.attention import Bounds

_LOG2_E = 1 / math.log(2)
_LEAST_EXPONENT = np.float32(-126)
_NEVER = np.float32(-np.inf)
# 2^x for x from -1/2 to 1/2: the terms of e^(x ln 2), of which seven leave an error under 2e-8.
_TERMS = tuple(np.float32(math.log(2) ** power / math.factorial(power)) for power in range(7))
_TERM_0, _TERM_1, _TERM_2, _TERM_3, _TERM_4, _TERM_5, _TERM_6 = _TERMS

_kernel = njit(nogil=True, boundscheck=False, error_model="numpy")


@_kernel
def _power(x: Any) -> Any:
    """Compute 2^x for x of at most 0; what is under 2^-126 becomes that."""
    x = larger(x, splat(_LEAST_EXPONENT))
    whole = round_even(x)
    part = x - whole
    value = fma(part, splat(_TERM_6), splat(_TERM_5))
    value = fma(value, part, splat(_TERM_4))
    value = fma(value, part, splat(_TERM_3))
    value = fma(value, part, splat(_TERM_2))
    value = fma(value, part, splat(_TERM_1))
    value = fma(value, part, splat(_TERM_0))
    return value * power_of_two(whole)


@_kernel
def _lay_out_queries(x: Any, tokens: Any, row_bytes: Any, width: Any, scale: Any, tiles: Any) -> None:
    factor = splat(scale)
    for token in range(tokens):
        source = x + token * row_bytes
        target = tiles + (token // 16) * (width // 32) * TILE_BYTES + (token % 16) * 64
        for first in range(0, width, 32):
            store_bfloat16(target, load(source + first * 4) * factor)
            store_bfloat16(target + 32, load(source + first * 4 + 64) * factor)
            target += TILE_BYTES


@_kernel
def _lay_out_keys(x: Any, tokens: Any, row_bytes: Any, width: Any, tiles: Any, buffer: Any) -> None:
    """Lay keys out as outputs of a weight: two dimensions of 16 keys stand side by side."""
    for token in range(tokens):
        source = x + token * row_bytes
        target = tiles + (token // 16) * (width // 32) * TILE_BYTES + (token % 16) * 4
        for first in range(0, width, 32):
            store_bfloat16(buffer, load(source + first * 4))
            store_bfloat16(buffer + 32, load(source + first * 4 + 64))
            for pair in range(16):
                store_int(target + pair * 64, load_int(buffer + pair * 4))
            target += TILE_BYTES


@_kernel
def _lay_out_values(x: Any, tokens: Any, row_bytes: Any, width: Any, tiles: Any) -> None:
    """Lay values out as inputs of a weight: two keys of 16 dimensions stand side by side; zeros behind the last."""
    depth = (tokens + 31) // 32
    nothing = splat(np.float32(0))
    for token in range(0, depth * 32, 2):
        source = x + token * row_bytes
        target = tiles + (token // 32) * TILE_BYTES + (token % 32) * 32
        for first in range(0, width, 16):
            even = load(source + first * 4) if token < tokens else nothing
            odd = load(source + row_bytes + first * 4) if token + 1 < tokens else nothing
            store_pairs(target + (first // 16) * depth * TILE_BYTES, even, odd)


@_kernel
def _weigh(scores: Any, rows: Any, tokens: Any, weights: Any, sums: Any) -> None:
    """Turn rows of scores into powers of two in bfloat16, and keep one over each row's sum."""
    depth = (tokens + 31) // 32
    for row in range(rows):
        source = scores + row * depth * 128
        for token in range(tokens, depth * 32):
            store_float(source + token * 4, _NEVER)
        most = load(source)
        for place in range(source + 64, source + depth * 128, 64):
            most = larger(load(place), most)
        top = splat(largest(most))
        target = weights + (row // 16) * depth * TILE_BYTES + (row % 16) * 64
        added = splat(np.float32(0))
        for place in range(source, source + depth * 128, 128):
            first, second = _power(load(place) - top), _power(load(place + 64) - top)
            added = added + first + second
            store_bfloat16(target, first)
            store_bfloat16(target + 32, second)
            target += TILE_BYTES
        store_float(sums + row * 4, np.float32(1) / total(added))


@_kernel
def attend_to_all(
    configuration: Any,
    query: Any,
    key: Any,
    value: Any,
    row_bytes: Any,
    tokens: Any,
    heads: Any,
    width: Any,
    scale: Any,
    out: Any,
    out_bytes: Any,
    buffer: Any,
) -> None:
    """Attend within one sequence. ``buffer`` holds what ``buffer_bytes`` says, on a cache line."""
    depth, groups = (tokens + 31) // 32, (tokens + 31) // 32 * 2
    inner = width // 32
    queries = buffer + SUMS_BYTES
    keys = queries + groups * inner * TILE_BYTES
    values = keys + groups * inner * TILE_BYTES
    scores = values + depth * (width // 16) * TILE_BYTES
    weights = scores + 32 * depth * 128
    over = weights + 2 * depth * TILE_BYTES
    configure(configuration)
    for head in range(heads):
        side = head * width * 4
        _lay_out_queries(query + side, tokens, row_bytes, width, scale, queries)
        _lay_out_keys(key + side, tokens, row_bytes, width, keys, buffer)
        _lay_out_values(value + side, tokens, row_bytes, width, values)
        for first in range(0, tokens, 32):
            rows = min(tokens - first, 32)
            wide = rows > 16
            for group in range(0, groups, 2):
                sum_bfloat16(
                    queries + (first // 16) * inner * TILE_BYTES,
                    keys + group * inner * TILE_BYTES,
                    inner,
                    wide,
                    scores + group * 64,
                    depth * 128,
                )
            _weigh(scores, rows, tokens, weights, over)
            for part in range(0, width, 32):
                sum_bfloat16(weights, values + (part // 16) * depth * TILE_BYTES, depth, wide, buffer, 128)
                for row in range(rows):
                    share = splat(load_float(over + row * 4))
                    place = out + (first + row) * out_bytes + side + part * 4
                    store(place, load(buffer + row * 128) * share)
                    store(place + 64, load(buffer + row * 128 + 64) * share)
    release()


def buffer_bytes(tokens: int, width: int) -> int:
    """Return the bytes that ``attend_to_all`` needs for a sequence."""
    depth = -(-tokens // 32)
    queries_and_keys = 4 * depth * (width // 32) * TILE_BYTES
    values = depth * (width // 16) * TILE_BYTES
    scores_and_weights = depth * (32 * 128 + 2 * TILE_BYTES)
    return SUMS_BYTES + queries_and_keys + values + scores_and_weights + 32 * 4


def per_sequence(query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
    """See ``Attention``: in one call for each sequence. The width of heads is a multiple of 32."""
    heads, width = query.shape[1:]
    buffer = SCRATCH.address("attention", buffer_bytes(bounds.longest, width))
    row_bytes, out_bytes = query.stride(0) * 4, out.stride(0) * 4
    scale = np.float32(_LOG2_E / math.sqrt(width))
    for start, end in pairwise(bounds.places):
        attend_to_all(
            CONFIGURATION,
            query.data_ptr() + start * row_bytes,
            key.data_ptr() + start * row_bytes,
            value.data_ptr() + start * row_bytes,
            row_bytes,
            end - start,
            heads,
            width,
            scale,
            out.data_ptr() + start * out_bytes,
            out_bytes,
            buffer,
        )
