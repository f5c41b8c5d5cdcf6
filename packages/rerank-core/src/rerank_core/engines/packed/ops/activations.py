"""The activations between the two products of a feed-forward, plain or gated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rerank_core.engines.packed.ops.fused import MultiplyActivated
from rerank_core.engines.workers import in_pieces

_gelu = torch.ops.aten.gelu_

_ROWS = 16  # of a piece: where it ends, a vector of 16 numbers does, as in the whole
_PER_MICROSECOND = 1000  # numbers that are activated, about

# By the names of transformers; each works in place.
ACTIVATIONS: dict[str, Callable[[Tensor], object]] = {
    "gelu": _gelu,
    "gelu_new": partial(_gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(_gelu, approximate="tanh"),
    "relu": torch.relu_,
    "silu": torch.ops.aten.silu_,
    "tanh": torch.tanh_,
}


def already_activated(x: Tensor) -> Tensor:
    """Return what the product has activated itself."""
    return x


@dataclass(frozen=True, slots=True)
class Plain:
    """The activation of all columns."""

    function: Callable[[Tensor], object]

    def __call__(self, x: Tensor) -> Tensor:
        """Activate [rows, intermediate] in place."""
        _by_rows(self.function, x)
        return x


@dataclass(frozen=True, slots=True)
class Gate:
    """The activation of some numbers, times others: a gated linear unit.

    ``fused``: what does both in one pass; None: torch does, in two.
    """

    function: Callable[[Tensor], object]
    fused: MultiplyActivated | None = None

    def __call__(self, x: Tensor, other: Tensor) -> Tensor:
        """Compute [rows, intermediate] out of two of these, in the memory of ``x``."""
        if self.fused is not None:
            self.fused(x, other)
            return x
        _by_rows(self.function, x)
        return x.mul_(other)


@dataclass(frozen=True, slots=True)
class Gated:
    """A gate of one half of the columns and the other. ``second``: it is the second half that is activated."""

    gate: Gate
    second: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Turn [rows, 2 * intermediate] into [rows, intermediate], a view of the same memory."""
        first, second = x.chunk(2, dim=1)
        return self.gate(second, first) if self.second else self.gate(first, second)


def _by_rows(function: Callable[[Tensor], object], x: Tensor) -> None:
    """Work in place, with the help of workers that are idle."""

    def work(first: int, end: int) -> None:
        with torch.inference_mode():  # which is each thread's own
            function(x[first:end])

    in_pieces(work, len(x), _ROWS, x.numel() / _PER_MICROSECOND)
