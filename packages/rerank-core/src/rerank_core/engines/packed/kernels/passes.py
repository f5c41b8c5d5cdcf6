"""Passes over float32 rows, each by one kernel where torch takes several: rotation, gates and RMS normalisation.

Widths are multiples of 16, halves of heads as well. A number's bits depend on its own row only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rerank_core.engines.packed.kernels.activations import gelu, silu
from rerank_core.engines.packed.kernels.memory import address_of_rows
from rerank_core.engines.packed.kernels.sums import kernel
from rerank_core.engines.packed.kernels.vectors import load, splat, store, total
from rerank_core.engines.packed.ops.activations import ACTIVATIONS
from rerank_core.engines.packed.ops.fused import Fused
from rerank_core.engines.workers import in_pieces

_NUMBERS_PER_MICROSECOND = 2_000  # that are rotated or normalised, about
_ACTIVATED_PER_MICROSECOND = 1_000


@kernel
def _rotate_rows(x: Any, rows: Any, row_bytes: Any, heads: Any, width: Any, cosines: Any, sines: Any) -> None:
    """Rotate the two halves of each head against each other. The tables have a row for each row."""
    half = width // 2 * 4
    for row in range(rows):
        for head in range(heads):
            first = x + row * row_bytes + head * width * 4
            for place in range(0, half, 64):
                cosine, sine = load(cosines + row * half + place), load(sines + row * half + place)
                one, other = load(first + place), load(first + half + place)
                store(first + place, one * cosine - other * sine)
                store(first + half + place, other * cosine + one * sine)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate heads [tokens, heads, width] in place, by cosines and sines [tokens, 1, width / 2]."""
    rows, heads, width = x.shape
    numbers = address_of_rows(x.view(rows, -1), rows, heads * width)
    in_rows = [table.contiguous() for table in (cosines, sines)]  # live until the kernel has read them
    tables = [address_of_rows(table.view(rows, -1), rows, width // 2) for table in in_rows]
    row_bytes, table_bytes = x.stride(0) * 4, width // 2 * 4

    def work(first: int, end: int) -> None:
        places = [table + first * table_bytes for table in tables]
        _rotate_rows(numbers + first * row_bytes, end - first, row_bytes, heads, width, *places)

    in_pieces(work, rows, 1, x.numel() / _NUMBERS_PER_MICROSECOND)


@kernel
def _normalise_rows(x: Any, rows: Any, row_bytes: Any, width: Any, weight: Any, epsilon: Any, out: Any) -> None:
    for row in range(rows):
        source, target = x + row * row_bytes, out + row * width * 4
        squares = splat(np.float32(0))
        for place in range(0, width * 4, 64):
            part = load(source + place)
            squares = squares + part * part
        scale = splat(np.float32(1) / np.sqrt(total(squares) / np.float32(width) + epsilon))
        for place in range(0, width * 4, 64):
            store(target + place, load(source + place) * scale * load(weight + place))


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Divide [..., width] by the root of the mean square of the last dimension, and multiply by ``weight``."""
    width = x.shape[-1]
    numbers, out = x.view(-1, width), torch.empty(x.shape)
    rows = len(numbers)
    source, target = address_of_rows(numbers, rows, width), out.data_ptr()
    weights, row_bytes = address_of_rows(weight[None], 1, width), numbers.stride(0) * 4

    def work(first: int, end: int) -> None:
        places = (source + first * row_bytes, target + first * width * 4)
        _normalise_rows(places[0], end - first, row_bytes, width, weights, np.float32(epsilon), places[1])

    in_pieces(work, rows, 1, x.numel() / _NUMBERS_PER_MICROSECOND)
    return out


def _multiplying(activate: Any) -> Callable[[Tensor, Tensor], None]:
    """Make what activates [rows, width] in place and multiplies it by another."""

    @kernel
    def multiply_rows(x: Any, other: Any, rows: Any, row_bytes: Any, other_bytes: Any, width: Any) -> None:
        for row in range(rows):
            first, second = x + row * row_bytes, other + row * other_bytes
            for place in range(0, width * 4, 64):
                store(first + place, activate(load(first + place)) * load(second + place))

    def multiply(x: Tensor, other: Tensor) -> None:
        rows, width = x.shape
        numbers, others = address_of_rows(x, rows, width), address_of_rows(other, rows, width)
        row_bytes, other_bytes = x.stride(0) * 4, other.stride(0) * 4

        def work(first: int, end: int) -> None:
            places = (numbers + first * row_bytes, others + first * other_bytes)
            multiply_rows(*places, end - first, row_bytes, other_bytes, width)

        in_pieces(work, rows, 1, x.numel() / _ACTIVATED_PER_MICROSECOND)

    return multiply


FUSED = Fused(
    rotate=rotate,
    rms_norm=rms_norm,
    gates={ACTIVATIONS["gelu"]: _multiplying(gelu), ACTIVATIONS["silu"]: _multiplying(silu)},
)
