"""Rounding an encoder's products by what goes into them, as a sample of ordinary text shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rerank_core.engines.packed.encoder import Encoder, Layer, Run
from rerank_core.engines.packed.ops.linear import FloatLinear, Linear


class Observed:
    """A product that notes of its inputs each column's largest magnitude, and the mean row."""

    def __init__(self, linear: FloatLinear, rows: int) -> None:
        """``rows``: how many are text; those behind them only fill up."""
        self.linear = linear
        self.largest = torch.zeros(linear.weight.shape[1])
        self.mean = torch.zeros(linear.weight.shape[1])
        self._rows = rows

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """See ``Linear``."""
        self._note(x[: self._rows])
        return self.linear(x, out)

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """See ``Linear``."""
        self._note(x[: self._rows])
        self.linear.add_to(total, x)

    def _note(self, x: Tensor) -> None:
        self.largest = x.abs().amax(0)
        self.mean = x.mean(0)


def rounded(encoder: Encoder, sample: Run, change: Callable[[Observed], Linear]) -> Encoder:
    """The encoder with each of its layers' products changed, by what it saw of the sample.

    The last layer and the head, which are computed for first tokens only, stay as they are.
    """
    rows = sample.bounds.places[-1]
    observed = [_with_products(layer, lambda linear: Observed(linear, rows)) for layer in encoder.layers]
    with _one_thread():
        replace(encoder, layers=tuple(observed))(sample)
        return replace(encoder, layers=tuple(_with_products(layer, change) for layer in observed))


@contextmanager
def _one_thread() -> Iterator[None]:
    """What is seen must not depend on the number of threads: it becomes part of every score."""
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
