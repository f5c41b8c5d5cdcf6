"""Matrix products with a fixed weight, in float types.

A score must not depend on its neighbours in a batch, so a product must give a row the same bits whatever the other rows
are. MKL's float32 product does, as long as one thread computes it and there are at least ``MIN_ROWS`` rows (measured:
from 12 rows on with AVX2, from 3 or 16 with AVX-512); see ``tests/engines/packed/test_engine.py``. A product of fewer
rows is therefore filled up first (``filled``).
"""

from __future__ import annotations

import threading
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

MIN_ROWS = 32
ROWS_STEP = 16
# Products of few rows are computed in parts, whose sum has other bits. In 16 bits that ends at 96 rows for the default
# model, at 144 for Qwen3-0.6B; in float32 it goes on up to 1152 (on an H200 and an H100, with cuBLAS 13: docs/gpu.md).
MIN_ROWS_ON_A_GPU = 256
_WIDENED_NUMBERS = 2**20


def filled(rows: int) -> int:
    """Round a number of rows up: not too few, and of not too many different numbers.

    oneDNN keeps code for each shape it has seen, which adds up to a hundred megabytes where every batch has a shape of
    its own; and memory that is given back in few sizes is used again.
    """
    return max(MIN_ROWS, -(-rows // ROWS_STEP) * ROWS_STEP)


def bucket(rows: int) -> int:
    """Round a number of rows up for a GPU: to an eighth of a power of two, and at least ``MIN_ROWS_ON_A_GPU``.

    Few numbers of rows need few CUDA graphs.
    """
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return max(MIN_ROWS_ON_A_GPU, -(-rows // step) * step)


class Linear(Protocol):
    """x W^T + b, for x of shape [rows, inputs]."""

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute the product [rows, outputs], in ``out`` where given and possible."""
        ...

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add the product to ``total`` [rows, outputs], in place."""
        ...


class WeightedLinear(Linear, Protocol):
    """A product whose weight and bias can be read."""

    @property
    def weight(self) -> Tensor:
        """The weight [outputs, inputs] in float32."""
        ...

    @property
    def bias(self) -> Tensor | None:
        """The bias [outputs]; None where there is none."""
        ...


class FloatLinear:
    """Multiplies in the weight's own floating-point type. The weight may be mapped from a file.

    ``bias`` is None for a product that has none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias
        self._transposed = weight.t()

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        if self.bias is None:
            return torch.mm(x, self._transposed, out=out)
        return torch.addmm(self.bias, x, self._transposed, out=out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``; the product accumulates right onto the total, without a buffer of its own."""
        if self.bias is not None:
            total.add_(self.bias)
        torch.addmm(total, x, self._transposed, out=total)


class DeviceLinear(FloatLinear):
    """As ``FloatLinear``, on a GPU: what is added to a total is a product of its own first.

    A product right onto the total gives other bits for another number of rows, up to 256 of them, and its bias takes a
    pass over the total of its own (measured on an H200, see docs/gpu.md).
    """

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(self(x))


class OneDnnLinear(FloatLinear):
    """As ``FloatLinear``, in float32 on a CPU, by oneDNN and not by MKL: the faster one on AMD's AVX-512.

    It reads the weight as it is, which may be mapped from a file, and gives a product in memory of its own.
    """

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return product

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(self(x))


class WideningLinear:
    """Multiplies in float32 with a weight of 16 bits, which may be mapped from a file: the numbers are the same.

    So many outputs at a time as one buffer of a few megabytes holds. A product of a thousand rows takes a thirtieth
    longer so, one of 160 rows a sixth (measured on a busy machine).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self.bias = bias
        outputs = max(ROWS_STEP, _WIDENED_NUMBERS // weight.shape[1] // ROWS_STEP * ROWS_STEP)
        self._blocks = [slice(start, start + outputs) for start in range(0, len(weight), outputs)]

    @property
    def weight(self) -> Tensor:
        """The whole weight in float32, made anew."""
        return self._weight.float()

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        out = x.new_empty(len(x), len(self._weight)) if out is None else out
        for block in self._blocks:
            torch.mm(x, self._widened(block), out=out[:, block])
        return out if self.bias is None else out.add_(self.bias)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        if self.bias is not None:
            total.add_(self.bias)
        for block in self._blocks:
            part = total[:, block]
            torch.addmm(part, x, self._widened(block), out=part)

    def _widened(self, block: slice) -> Tensor:
        part = self._weight[block]
        return SCRATCH.buffer(part.shape).copy_(part).t()


class _Scratch(threading.local):
    """Keeps one buffer a thread for what a product needs beside it: fresh memory costs as much to touch as to fill."""

    def __init__(self) -> None:
        self._numbers = torch.empty(0, dtype=torch.float32)

    @torch.inference_mode(False)
    def buffer(self, shape: torch.Size) -> Tensor:
        """Return a buffer of that shape, with anything in it."""
        if len(self._numbers) < shape.numel():
            self._numbers = torch.empty(shape.numel(), dtype=torch.float32)
        return self._numbers[: shape.numel()].view(shape)


SCRATCH = _Scratch()


class BFloat16Linear:
    """Rounds both factors to bfloat16, sums in float32, float32 in and out: for CPUs with instructions for it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight.bfloat16()
        self._bias = None if bias is None else bias.bfloat16()

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        product = functional.linear(x.bfloat16(), self._weight, self._bias)
        return product.float() if out is None else out.copy_(product)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        total.add_(functional.linear(x.bfloat16(), self._weight, self._bias))
