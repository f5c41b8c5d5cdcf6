"""Products in float32 with a weight of 32 or 16 bits, which may be mapped from a file."""

from __future__ import annotations

import torch
from torch import Tensor

from rerank_core.engines.packed.kernels.memory import SCRATCH, address_of_rows, as_rows
from rerank_core.engines.packed.kernels.row_products import (
    COLUMNS,
    OPERATIONS_PER_MICROSECOND,
    SPARE_BYTES,
    product_of,
)
from rerank_core.engines.packed.kernels.row_sums import INPUTS, OUTPUTS
from rerank_core.engines.workers import in_pieces

_NOTHING = torch.zeros(16)


class RowLinear:
    """Multiplies float32 rows with the numbers of a float32, bfloat16 or float16 weight. A row has its bits alone.

    ``bias`` is None for a product that has none.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        if not fits(weight):
            raise TypeError(f"a weight of other numbers or another shape: {weight.dtype} {list(weight.shape)}")
        self.bias = bias
        self._weight = weight
        self._bias = torch.zeros(len(weight)) if bias is None else bias.float().contiguous()
        # Part by part: each load of a row that begins anywhere in a cache line, as in a mapped file, takes two lines.
        self._is_copied = weight.data_ptr() % 64 != 0
        self._multiply = product_of(str(weight.dtype).removeprefix("torch."))

    @property
    def weight(self) -> Tensor:
        """The whole weight in float32."""
        return self._weight.float()

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        out = x.new_empty(len(x), len(self._weight), dtype=torch.float32) if out is None else out
        self._multiply_into(out, x, add=False)
        return out

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        self._multiply_into(total, x, add=True)

    def _multiply_into(self, out: Tensor, x: Tensor, *, add: bool) -> None:
        x, weight = as_rows(x), self._weight
        outputs, inputs = weight.shape
        source, target = address_of_rows(x, len(out), inputs), address_of_rows(out, len(out), outputs)
        weight_bytes = weight.stride(0) * weight.element_size()

        def multiply(first: int, end: int) -> None:
            self._multiply(
                source,
                len(out),
                x.stride(0) * 4,
                weight.data_ptr() + first * weight_bytes,
                inputs,
                end - first,
                weight_bytes,
                self._bias.data_ptr() + first * 4,
                target + first * 4,
                out.stride(0) * 4,
                add,
                _NOTHING.data_ptr(),
                SCRATCH.address("weight", SPARE_BYTES) if self._is_copied else 0,
            )

        in_pieces(multiply, outputs, COLUMNS, len(out) * outputs * inputs / OPERATIONS_PER_MICROSECOND)


def fits(weight: Tensor) -> bool:
    """Return whether the kernel reads such a weight."""
    outputs, inputs = weight.shape
    known = weight.dtype in (torch.float32, torch.bfloat16, torch.float16) and weight.stride(1) == 1
    return known and outputs % OUTPUTS == 0 and inputs % INPUTS == 0 and inputs > 0
