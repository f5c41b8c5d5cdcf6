"""The activations between the two products of a feed-forward, plain or gated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

_gelu = torch.ops.aten.gelu_

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
        self.function(x)
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
        self.function(activated)
        return activated.mul_(other)
