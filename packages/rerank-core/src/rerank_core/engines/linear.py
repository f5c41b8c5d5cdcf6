"""Matrix products with a fixed weight.

MKL's float32 product gives a row the same bits whatever the other rows are, as long as one thread computes it and
there are at least ``MIN_ROWS`` of them (measured: from 12 rows on with AVX2, from 16 with AVX-512); see
``tests/engines/test_packed.py``. So whoever multiplies fewer rows fills them up first.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

MIN_ROWS = 32


class Linear(Protocol):
    """x W^T + b, for x of shape [rows, inputs]."""

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The product [rows, outputs], in ``out`` where given and possible."""
        ...

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add the product to ``total`` [rows, outputs], in place."""
        ...


class FloatLinear:
    """In the weight's own floating-point type. The weight may be mapped from a file."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight = weight.t()
        self._bias = bias

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        return torch.addmm(self._bias, x, self._weight, out=out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``; the product accumulates right onto the total, without a buffer of its own."""
        total.add_(self._bias)
        torch.addmm(total, x, self._weight, out=total)
