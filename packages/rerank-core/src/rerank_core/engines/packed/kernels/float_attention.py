"""Attention in float32.

For each key head of each sequence keys are turned round, so that 64 of them stand side by side, and values are laid end
to end: in rows that are far apart they would meet in the same places of the cache. Then, for six queries at a time, all
scores are computed, turned into weights and multiplied with the values. Nothing is shared between sequences.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rerank_core.engines.packed.kernels.activations import power_of
from rerank_core.engines.packed.kernels.attention import AttentionKernel
from rerank_core.engines.packed.kernels.broadcast_sums import ROWS, add_up_32, add_up_64
from rerank_core.engines.packed.kernels.row_products import OPERATIONS_PER_MICROSECOND
from rerank_core.engines.packed.kernels.scores import hide_unseen, largest_everywhere
from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import (
    load,
    load_float,
    splat,
    store,
    store_float,
    total,
)

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
def _weigh(scores: Any, rows: Any, row_bytes: Any, place: Any, keys: Any, behind: Any, ahead: Any, scale: Any) -> None:
    """Turn rows of scores into weights, whose sum is one. ``scale``: of scores, to powers of two.

    The first row stands at the key ``place`` and sees so many keys ``behind`` and ``ahead`` of its own, of the first
    ``keys``; each other row stands one further. What a row does not see weighs nothing, as far as the last row sees.
    """
    factor = splat(scale)
    bytes_of_all = (min(place + rows + ahead, keys) + 15) // 16 * 64
    for row in range(rows):
        source = scores + row * row_bytes
        end = source + bytes_of_all
        hide_unseen(source, end, place + row, keys, behind, ahead)
        top = largest_everywhere(source, end)
        added = splat(np.float32(0))
        for part in range(source, end, 64):
            power = power_of((load(part) - top) * factor)
            added = added + power
            store(part, power)
        share = splat(np.float32(1) / total(added))
        for part in range(source, end, 64):
            store(part, load(part) * share)


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
    padded = (tokens + _KEYS - 1) // _KEYS * _GROUP_BYTES  # bytes of a row of scores
    scores = buffer + width * padded
    values = scores + ROWS * padded
    for head in range(key_heads * shared):
        if head % shared == 0:
            side = head // shared * width * 4
            _turn_round(key + side, tokens, key_bytes, width, buffer)
            _lay_end_to_end(value + side, tokens, key_bytes, width, values)
        for first in range(0, rows, ROWS):
            last = min(rows - first, ROWS) - 1
            place = tokens - rows + first
            start = max(place - behind, 0) // _KEYS
            skipped = start * _KEYS
            depth = min(place + last + 1 + ahead, tokens) - skipped
            queries = query + first * query_bytes + head * width * 4
            for group in range(start, start + (depth + _KEYS - 1) // _KEYS):
                keys, target = buffer + group * width * _GROUP_BYTES, scores + (group - start) * _GROUP_BYTES
                if tokens - group * _KEYS > 32:
                    add_up_64(queries, query_bytes, last, keys, _GROUP_BYTES, width, target, padded)
                else:
                    add_up_32(queries, query_bytes, last, keys, _GROUP_BYTES, width, target, padded)
            _weigh(scores, last + 1, padded, place - skipped, tokens - skipped, behind, ahead, scale)
            seen = values + skipped * width * 4
            target = out + first * out_bytes + head * width * 4
            whole = width // 64 * 64
            for part in range(0, whole * 4, 64 * 4):
                add_up_64(scores, padded, last, seen + part, width * 4, depth, target + part, out_bytes)
            for part in range(whole * 4, width * 4, 32 * 4):
                add_up_32(scores, padded, last, seen + part, width * 4, depth, target + part, out_bytes)


def buffer_bytes(rows: int, tokens: int, width: int) -> int:
    """See ``AttentionKernel``."""
    return (width + ROWS) * -(-tokens // _KEYS) * _GROUP_BYTES + tokens * width * 4


FLOAT32 = AttentionKernel(attend_within, buffer_bytes, OPERATIONS_PER_MICROSECOND)
