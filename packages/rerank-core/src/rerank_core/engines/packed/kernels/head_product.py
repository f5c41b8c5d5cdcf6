"""Products of which each head has a weight of its own, of a few rows: each weight is read once for six of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rerank_core.engines.packed.kernels.broadcast_sums import ROWS, add_up_32, add_up_64
from rerank_core.engines.packed.kernels.memory import address_of_rows
from rerank_core.engines.packed.kernels.sums import kernel


@kernel
def _multiply(x: Any, rows: Any, heads: Any, inputs: Any, weight: Any, outputs: Any, out: Any) -> None:
    row_bytes, out_bytes, weight_bytes = heads * inputs * 4, heads * outputs * 4, outputs * 4
    whole = outputs // 64 * 64
    for head in range(heads):
        for first in range(0, rows, ROWS):
            last = min(rows - first, ROWS) - 1
            source = x + first * row_bytes + head * inputs * 4
            target = out + first * out_bytes + head * outputs * 4
            for part in range(0, whole * 4, 64 * 4):
                add_up_64(source, row_bytes, last, weight + part, weight_bytes, inputs, target + part, out_bytes)
            for part in range(whole * 4, outputs * 4, 32 * 4):
                add_up_32(source, row_bytes, last, weight + part, weight_bytes, inputs, target + part, out_bytes)
        weight += inputs * weight_bytes


def multiply_heads(x: Tensor, weight: Tensor) -> Tensor:
    """See ``HeadProduct``, in float32. The outputs are a multiple of 32.

    Raises ``TypeError`` for other numbers, and for a weight that is not in one piece.
    """
    rows, heads, inputs = x.shape
    outputs = weight.shape[2]
    if not weight.is_contiguous() or weight.shape[:2] != (heads, inputs) or outputs % 32:
        raise TypeError(f"a weight of another shape, or not in one piece: {list(weight.shape)}, {weight.stride()}")
    x = x.contiguous()  # lives until the kernel has read it
    out = torch.empty(rows, heads, outputs)
    source = address_of_rows(x.view(rows, -1), rows, heads * inputs)
    weights = address_of_rows(weight.view(heads * inputs, outputs), heads * inputs, outputs)
    _multiply(source, rows, heads, inputs, weights, outputs, out.data_ptr())
    return out
