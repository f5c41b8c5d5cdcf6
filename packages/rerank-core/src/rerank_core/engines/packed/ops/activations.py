"""The activations between the two products of a feed-forward, plain or gated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

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
class Gated:
    """The activation of one half of the columns, times the other half: a gated linear unit.

    ``second``: it is the second half that is activated.
    """

    function: Callable[[Tensor], object]
    second: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Turn [rows, 2 * intermediate] into [rows, intermediate], a view of the same memory."""
        first, second = x.chunk(2, dim=1)
        activated, other = (second, first) if self.second else (first, second)
        _by_rows(self.function, activated)
        return activated.mul_(other)


def _by_rows(function: Callable[[Tensor], object], x: Tensor) -> None:
    """Work in place, with the help of workers that are idle."""

    def work(first: int, end: int) -> None:
        with torch.inference_mode():  # which is each thread's own
            function(x[first:end])

    in_pieces(work, len(x), _ROWS, x.numel() / _PER_MICROSECOND)
