"""Kernels in Triton: one pass over memory for what torch's operations do in several.

Imported on a GPU only, see ``fused``: Triton comes with torch's builds for CUDA, and not with those for a CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _add_norm(x, y, weight, bias, out, width, epsilon, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64) * width
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    first = tl.load(x + row + columns, mask=inside, other=0.0)
    total = first.to(tl.float32) + tl.load(y + row + columns, mask=inside, other=0.0).to(tl.float32)
    total = total.to(first.dtype).to(tl.float32)  # rounded, as a sum in memory is
    centred = tl.where(inside, total - tl.sum(total) / width, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred) / width + epsilon)
    normed = centred * scale * tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        normed += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + columns, normed.to(first.dtype), mask=inside)


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """Normalise the rows of x + y [rows, width], into the memory of ``x``, which is returned."""
    rows, width = x.shape
    block = triton.next_power_of_2(width)
    _add_norm[(rows,)](
        x,
        y,
        weight,
        weight if bias is None else bias,
        x,
        width,
        epsilon,
        HAS_BIAS=bias is not None,
        BLOCK=block,
        num_warps=max(1, min(8, block // 256)),
    )
    return x


@triton.jit
def _rotate(  # type: ignore[no-untyped-def]
    x, cosines, sines, heads, half, row_stride, head_stride, HEADS: tl.constexpr, HALF: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    head, place = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None]
    inside = (head < heads) & (place < half)
    angle = row * half + place
    cosine = tl.load(cosines + angle, mask=place < half, other=0.0)
    sine = tl.load(sines + angle, mask=place < half, other=0.0)
    first = x + row * row_stride + head * head_stride + place
    second = first + half
    before, after = tl.load(first, mask=inside, other=0.0), tl.load(second, mask=inside, other=0.0)
    a, b = before.to(tl.float32), after.to(tl.float32)
    tl.store(first, (a * cosine - b * sine).to(before.dtype), mask=inside)
    tl.store(second, (b * cosine + a * sine).to(before.dtype), mask=inside)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate the halves of heads [rows, heads, width] by angles [rows, 1, width / 2], in place."""
    rows, heads, width = x.shape
    _rotate[(rows,)](
        x,
        cosines,
        sines,
        heads,
        width // 2,
        x.stride(0),
        x.stride(1),
        HEADS=triton.next_power_of_2(heads),
        HALF=triton.next_power_of_2(width // 2),
        num_warps=4,
    )
