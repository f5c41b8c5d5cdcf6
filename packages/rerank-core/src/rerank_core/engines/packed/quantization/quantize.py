"""Quantization: a network's products get fewer bits, by the inputs that calibration texts give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from rerank_core.engines.packed.decoder import Decoder, DecoderLayer
from rerank_core.engines.packed.encoder import Encoder, Layer, PackedSequences
from rerank_core.engines.packed.ops.linear import Linear, WeightedLinear

Network = TypeVar("Network", Encoder, Decoder)


class ObservedLinear:
    """A product that keeps each input column's largest magnitude, and the mean input row."""

    def __init__(self, linear: WeightedLinear, rows: int) -> None:
        """``rows``: how many are text; those behind them only fill up."""
        self.linear = linear
        self.largest = self.mean = torch.empty(0)  # until it has seen rows
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


def quantize(network: Network, calibration: PackedSequences, make: Callable[[ObservedLinear], Linear]) -> Network:
    """Replace each product of the network's layers by what ``make`` gives for it after the calibration texts.

    An encoder's last layer, which is computed for first tokens only, and the head stay as they are.
    """
    rows = calibration.bounds.places[-1]
    observed = [_with_products(layer, lambda linear: ObservedLinear(linear, rows)) for layer in network.layers]
    with _one_thread():
        replace(network, layers=tuple(observed))(calibration)
        return replace(network, layers=tuple(_with_products(layer, make) for layer in observed))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: what is observed becomes part of every score, and must not depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_products(layer: Layer | DecoderLayer, change: Callable[[Any], Linear]) -> Any:
    changed: dict[str, Any] = {product: change(getattr(layer, product)) for product in layer.products}
    return replace(layer, **changed)
