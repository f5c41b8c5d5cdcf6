"""Quantization: an encoder's products get fewer bits, by the inputs that calibration texts give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rerank_core.engines.packed.encoder import Encoder, Layer, PackedSequences
from rerank_core.engines.packed.ops.linear import FloatLinear, Linear


class ObservedLinear:
    """A product that keeps each input column's largest magnitude, and the mean input row."""

    def __init__(self, linear: FloatLinear, rows: int) -> None:
        """``rows``: how many are text; those behind them only fill up."""
        self.linear = linear
        self.largest = torch.zeros(linear.weight.shape[1])
        self.mean = torch.zeros(linear.weight.shape[1])
        self._rows = rows

    @property
    def bias(self) -> Tensor:
        """The product's bias; zeros where it has none."""
        bias = self.linear.bias
        return torch.zeros(len(self.linear.weight)) if bias is None else bias

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        self._observe(x[: self._rows])
        return self.linear(x, out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        self._observe(x[: self._rows])
        self.linear.add_to(total, x)

    def _observe(self, x: Tensor) -> None:
        self.largest = x.abs().amax(0)
        self.mean = x.mean(0)


def quantize(encoder: Encoder, calibration: PackedSequences, make: Callable[[ObservedLinear], Linear]) -> Encoder:
    """Replace each product of the encoder's layers by what ``make`` gives for it after the calibration texts.

    The last layer and the head, which are computed for first tokens only, stay as they are.
    """
    rows = calibration.bounds.places[-1]
    observed = [_with_products(layer, lambda linear: ObservedLinear(linear, rows)) for layer in encoder.layers]
    with _one_thread():
        replace(encoder, layers=tuple(observed))(calibration)
        return replace(encoder, layers=tuple(_with_products(layer, make) for layer in observed))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: what is observed becomes part of every score, and must not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_products(layer: Layer, change: Callable[[Any], Linear]) -> Layer:
    return replace(
        layer,
        qkv=change(layer.qkv),
        attention_out=change(layer.attention_out),
        up=change(layer.up),
        down=change(layer.down),
    )
