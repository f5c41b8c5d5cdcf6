"""Matrix products in float32 by MKL, of few rows in another way than of many, and with the same bits."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from rerank_core.engines.packed.ops.linear import MIN_ROWS, ROWS_STEP, SCRATCH, FloatLinear

FEW_ROWS = (MIN_ROWS, MIN_ROWS + ROWS_STEP)
"""The numbers of rows, filled up, for which the other way is faster (measured: at 64 they are level)."""

INPUTS_STEP = 384  # MKL adds up so many inputs at a time, for many rows

_LEAST_NUMBERS = 2**20  # of a weight: a smaller one is laid out faster than two calls more are made

_Kind: TypeAlias = tuple[torch.Size, tuple[int, ...], int, int]


class MklLinear(FloatLinear):
    """As ``FloatLinear``, in float32 on a CPU.

    MKL lays the second factor out anew in each product, and with few rows this takes longer than to multiply. So the
    weight is the first factor then, W x^T, and the rows are laid out. Of few rows MKL would add up other numbers of
    inputs at a time than of many: it is asked for so many. Whether the bits are the same then is tried for each shape
    when it is first met, and where they are not, few rows are multiplied as many are.
    """

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        if not self._is_for_few(len(x)):
            return super().__call__(x, out)
        out = x.new_empty(len(x), len(self.weight)) if out is None else out
        start = out.new_zeros(()) if self.bias is None else self.bias[:, None]
        return out.copy_(self._added_to(start, x).t())

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        if not self._is_for_few(len(x)):
            super().add_to(total, x)
            return
        if self.bias is not None:
            total.add_(self.bias)
        total.copy_(self._added_to(total.t(), x).t())

    def _added_to(self, start: Tensor, x: Tensor) -> Tensor:
        """Compute ``start`` + W x^T [outputs, rows], in memory that is used again."""
        sums = SCRATCH.buffer(torch.Size((len(self.weight), len(x)))).copy_(start)
        for first in range(0, x.shape[1], INPUTS_STEP):
            inputs = slice(first, first + INPUTS_STEP)
            torch.addmm(sums, self.weight[:, inputs], x[:, inputs].t(), out=sums)
        return sums

    def _is_for_few(self, rows: int) -> bool:
        return rows in FEW_ROWS and self.weight.numel() >= _LEAST_NUMBERS and self._has_bits_of_many()

    def _has_bits_of_many(self) -> bool:
        # What MKL may choose its way by; of the rows, only how many there are.
        kind = self.weight.shape, self.weight.stride(), self.weight.data_ptr() % 64, torch.get_num_threads()
        if kind not in _HAS_BITS_OF_MANY:
            x = torch.randn(FEW_ROWS[-1], self.weight.shape[1], generator=torch.Generator().manual_seed(0))
            many, start = torch.mm(x, self._transposed), torch.zeros(())
            found = [torch.equal(self._added_to(start, x[:rows]).t(), many[:rows]) for rows in FEW_ROWS]
            _HAS_BITS_OF_MANY[kind] = all(found)
        return _HAS_BITS_OF_MANY[kind]


_HAS_BITS_OF_MANY: dict[_Kind, bool] = {}
