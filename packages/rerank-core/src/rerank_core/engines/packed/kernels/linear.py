"""Products with a fixed weight, computed by kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rerank_core.engines.packed.kernels import products
from rerank_core.engines.packed.kernels.instructions import best_sums
from rerank_core.engines.packed.kernels.memory import SCRATCH, address_of_rows, as_rows
from rerank_core.engines.packed.kernels.sums import BLOCK_BYTES, PAIR_BYTES, Sums
from rerank_core.engines.workers import in_pieces


class _KernelLinear(ABC):
    """A ``Linear`` of float32 rows.

    ``sums``: what it is made of; by default the fastest that this machine has.
    """

    _outputs: int

    def __init__(self, sums: Sums | None) -> None:
        self._products = products.products_of(best_sums() if sums is None else sums)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        out = x.new_empty(len(x), self._outputs, dtype=torch.float32) if out is None else out
        self._multiply(x, out, products.WRITE)
        return out

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        self._multiply(x, total, products.ADD)

    @abstractmethod
    def _multiply(self, x: Tensor, out: Tensor, then: int) -> None: ...


class BFloat16Linear(_KernelLinear):
    """Rounds both factors to bfloat16; sums, bias and result are float32.

    ``add_to`` reads what ``ActivatedLinear`` gives, too.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, sums: Sums | None = None) -> None:
        super().__init__(sums)
        self._outputs, self._inputs = weight.shape
        self._depth = -(-self._inputs // 32)
        self._weight = _aligned(_laid_out(weight.bfloat16(), together=2))
        self._bias = _filled(torch.zeros(self._outputs) if bias is None else bias.float())

    def _multiply(self, x: Tensor, out: Tensor, then: int) -> None:
        self._multiply_into(address_of_rows(out, len(out), self._outputs), len(out), x, out.stride(0) * 4, then)

    def _multiply_into(self, out: int, rows: int, x: Tensor, row_bytes: int, then: int) -> None:
        if x.shape == (_pairs(rows), self._depth, 2, 16, 32):  # laid out already
            tiles = x.data_ptr()
        else:
            tiles = SCRATCH.address("tiles", _pairs(rows) * self._depth * PAIR_BYTES)
            x = as_rows(x)
            source, x_bytes = address_of_rows(x, rows, self._inputs), x.stride(0) * 4

            def lay_out(first: int, last: int) -> None:
                products.lay_out_bfloat16(
                    source + first * x_bytes,
                    last - first,
                    self._inputs,
                    x_bytes,
                    tiles + first // 32 * self._depth * PAIR_BYTES,
                    SCRATCH.address("sums", BLOCK_BYTES),
                )

            in_pieces(lay_out, rows, 32, rows * self._inputs / products.NUMBERS_PER_MICROSECOND)

        def multiply(first: int, last: int) -> None:
            self._products.multiply_bfloat16(
                tiles,
                rows,
                self._weight.data_ptr(),
                self._depth,
                first,
                last,
                self._outputs,
                out,
                row_bytes,
                then,
                (self._bias.data_ptr(),),
                *_sums(rows, self._depth),
            )

        in_pieces(
            multiply, self._outputs, 32, rows * self._outputs * self._inputs / products.OPERATIONS_PER_MICROSECOND
        )


class ActivatedLinear(BFloat16Linear):
    """A product and GELU. Gives bfloat16 as the next product reads it: [32 rows, tiles, 2, 16, 32]."""

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute GELU(x W^T + b)."""
        shape = (_pairs(len(x)), -(-self._outputs // 32), 2, 16, 32)
        if out is None or out.shape != shape:
            out = torch.zeros(shape, dtype=torch.bfloat16)
        self._multiply_into(out.data_ptr(), len(x), x, 0, products.LAY_OUT)
        return out


class Int8Linear(_KernelLinear):
    """As ``quantization.int8.Int8Linear``, with the outlier columns as sums of two bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor, columns: Tensor, *, levels: int, sums: Sums | None = None) -> None:
        """``columns``: the inputs that are left out of the rounding; ``levels``: how many an input is rounded to."""
        super().__init__(sums)
        self._outputs, self._inputs = weight.shape
        self._depth = -(-self._inputs // 64)
        self._steps = np.float32(levels - 1)
        inner = weight.index_fill(1, columns, 0.0)
        scale = inner.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        rounded = (inner / scale[:, None]).round().to(torch.int8)
        self._weight = _aligned(_laid_out(rounded, together=4))
        weight_sums = rounded.sum(1, dtype=torch.int32).float() * scale
        self._terms = torch.cat([_filled(term.float()) for term in (scale, weight_sums, bias)])
        missing = products.OUTLIERS - len(columns)
        self._columns = torch.cat([columns, columns[:1].repeat(missing)]).numpy().astype(np.int64)
        outliers = functional.pad(weight[:, columns], (0, missing))
        upper = outliers.bfloat16()
        lower = (outliers - upper.float()).bfloat16()
        # An input's upper and lower half stand side by side, and meet the same half of the weight.
        self._beside = _aligned(_laid_out(torch.cat([upper, upper, lower, lower], 1), together=2))

    def _multiply(self, x: Tensor, out: Tensor, then: int) -> None:
        rows = len(x)
        tiles = SCRATCH.address("tiles", _pairs(rows) * self._depth * PAIR_BYTES)
        beside = SCRATCH.address("beside", _pairs(rows) * PAIR_BYTES)
        scales = SCRATCH.address("scales", rows * 8)
        x = as_rows(x)
        source, x_bytes = address_of_rows(x, rows, self._inputs), x.stride(0) * 4
        target, out_bytes = address_of_rows(out, rows, self._outputs), out.stride(0) * 4

        def lay_out(first: int, last: int) -> None:
            products.lay_out_bytes(
                source + first * x_bytes,
                last - first,
                self._inputs,
                x_bytes,
                self._columns,
                self._steps,
                tiles + first // 32 * self._depth * PAIR_BYTES,
                beside + first // 32 * PAIR_BYTES,
                scales + first * 8,
                SCRATCH.address("row", self._depth * 256 + 64),
            )

        in_pieces(lay_out, rows, 32, rows * self._inputs / products.NUMBERS_PER_MICROSECOND)

        def multiply(first: int, last: int) -> None:
            left_out = SCRATCH.address("left out", 2 * BLOCK_BYTES)
            self._products.multiply_bytes(
                tiles,
                rows,
                self._weight.data_ptr(),
                self._depth,
                first,
                last,
                self._outputs,
                target,
                out_bytes,
                then,
                (self._terms.data_ptr(), beside, self._beside.data_ptr(), scales, left_out),
                *_sums(rows, self._depth),
            )

        in_pieces(
            multiply, self._outputs, 32, rows * self._outputs * self._inputs / products.OPERATIONS_PER_MICROSECOND
        )


def _pairs(rows: int) -> int:
    """Return how many times 32 rows there are."""
    return -(-rows // 32)


def _sums(rows: int, depth: int) -> tuple[int, int]:
    """Return buffers for the sums of a block, and for all that wait where a product is deeper than one step."""
    waiting = _pairs(rows) * (products.COLUMNS // 32) if depth > products.DEPTH else 0
    return SCRATCH.address("sums", BLOCK_BYTES), SCRATCH.address("partial", waiting * BLOCK_BYTES)


def _filled(term: Tensor) -> Tensor:
    """Fill up with zeros to a multiple of 32."""
    return functional.pad(term, (0, -len(term) % 32))


def _laid_out(weight: Tensor, *, together: int) -> Tensor:
    """Lay a weight [outputs, inputs] out: [32 outputs, tiles, 16 outputs, 16, 16 outputs, inputs together]."""
    outputs, inputs = weight.shape
    padded = functional.pad(weight, (0, -inputs % (16 * together), 0, -outputs % 32))
    return padded.view(len(padded) // 32, 2, 16, -1, 16, together).permute(0, 3, 1, 4, 2, 5).contiguous()


def _aligned(tensor: Tensor) -> Tensor:
    """Move to memory that begins on a cache line, as torch's own does."""
    return tensor.clone() if tensor.data_ptr() % 64 else tensor
