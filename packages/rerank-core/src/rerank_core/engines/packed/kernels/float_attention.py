"""Attention in float32.

For each head of each sequence keys are turned round, so that 64 of them stand side by side, and values are laid end to
end: in rows that are far apart they would meet in the same places of the cache. Then, for six queries at a time, all
scores are computed, turned into weights and multiplied with the values. Nothing is shared between sequences.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from rerank_core.engines.packed.kernels.activations import LOG2_E, NEVER, power_of
from rerank_core.engines.packed.kernels.broadcast_sums import ROWS, add_up_32, add_up_64
from rerank_core.engines.packed.kernels.memory import SCRATCH, address_of_rows
from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import (
    larger,
    largest,
    load,
    load_float,
    splat,
    store,
    store_float,
    total,
)
from rerank_core.engines.packed.ops.attention import Bounds

_KEYS = 64  # that scores are computed of at a time
_GROUP_BYTES = _KEYS * 4


@kernel
def _turn_round(x: Any, tokens: Any, row_bytes: Any, width: Any, out: Any) -> None:
    """Lay keys out, 64 of them together: [groups, width, 64]. Of the last group there may be fewer."""
    for token in range(tokens):
        source = x + token * row_bytes
        target = out + token // _KEYS * width * _GROUP_BYTES + token % _KEYS * 4
        for place in range(width):
            store_float(target + place * _GROUP_BYTES, load_float(source + place * 4))


@kernel
def _lay_end_to_end(x: Any, tokens: Any, row_bytes: Any, width: Any, out: Any) -> None:
    for token in range(tokens):
        source, target = x + token * row_bytes, out + token * width * 4
        for place in range(0, width * 4, 64):
            store(target + place, load(source + place))


@kernel
def _weigh(scores: Any, rows: Any, row_bytes: Any, tokens: Any, scale: Any) -> None:
    """Turn rows of scores into weights, whose sum is one. ``scale``: of scores, to powers of two."""
    factor = splat(scale)
    for row in range(rows):
        source = scores + row * row_bytes
        end = source + (tokens + 15) // 16 * 64
        for place in range(source + tokens * 4, end, 4):
            store_float(place, NEVER)
        most = load(source)
        for place in range(source + 64, end, 64):
            most = larger(load(place), most)
        top = splat(largest(most))
        added = splat(np.float32(0))
        for place in range(source, end, 64):
            power = power_of((load(place) - top) * factor)
            added = added + power
            store(place, power)
        share = splat(np.float32(1) / total(added))
        for place in range(source, end, 64):
            store(place, load(place) * share)


@kernel
def attend_to_all(
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
    """Attend within one sequence. ``buffer`` holds what ``buffer_bytes`` says."""
    groups = (tokens + _KEYS - 1) // _KEYS
    padded = groups * _GROUP_BYTES  # bytes of a row of scores
    scores = buffer + width * padded
    values = scores + ROWS * padded
    for head in range(heads):
        side = head * width * 4
        _turn_round(key + side, tokens, row_bytes, width, buffer)
        _lay_end_to_end(value + side, tokens, row_bytes, width, values)
        for first in range(0, tokens, ROWS):
            last = min(tokens - first, ROWS) - 1
            queries = query + first * row_bytes + side
            for group in range(groups):
                keys, place = buffer + group * width * _GROUP_BYTES, scores + group * _GROUP_BYTES
                if tokens - group * _KEYS > 32:
                    add_up_64(queries, row_bytes, last, keys, _GROUP_BYTES, width, place, padded)
                else:
                    add_up_32(queries, row_bytes, last, keys, _GROUP_BYTES, width, place, padded)
            _weigh(scores, last + 1, padded, tokens, scale)
            target = out + first * out_bytes + side
            whole = width // 64 * 64
            for part in range(0, whole * 4, 64 * 4):
                add_up_64(scores, padded, last, values + part, width * 4, tokens, target + part, out_bytes)
            for part in range(whole * 4, width * 4, 32 * 4):
                add_up_32(scores, padded, last, values + part, width * 4, tokens, target + part, out_bytes)


def buffer_bytes(tokens: int, width: int) -> int:
    """Return the bytes that ``attend_to_all`` needs for a sequence."""
    return (width + ROWS) * -(-tokens // _KEYS) * _GROUP_BYTES + tokens * width * 4


def attend(query: Tensor, key: Tensor, value: Tensor, bounds: Bounds, out: Tensor) -> None:
    """See ``Attention``: in one call for each sequence. The width of heads is a multiple of 32."""
    heads, width = query.shape[1:]
    buffer = SCRATCH.address("attention", buffer_bytes(bounds.longest, width))
    rows, inner = len(query), heads * width
    queries, keys, values, outs = (
        address_of_rows(x.view(len(x), inner), rows, inner) for x in (query, key, value, out)
    )
    if not query.stride(0) == key.stride(0) == value.stride(0):
        strides = f"{query.stride(0)}, {key.stride(0)} and {value.stride(0)}"
        raise TypeError(f"strides of one size are needed, not {strides}")
    row_bytes, out_bytes = query.stride(0) * 4, out.stride(0) * 4
    scale = np.float32(LOG2_E / math.sqrt(width))
    for start, end in pairwise(bounds.places):
        attend_to_all(
            queries + start * row_bytes,
            keys + start * row_bytes,
            values + start * row_bytes,
            row_bytes,
            end - start,
            heads,
            width,
            scale,
            outs + start * out_bytes,
            out_bytes,
            buffer,
        )
