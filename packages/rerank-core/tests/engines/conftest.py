"""What this processor computes, for the tests of engines."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from rerank_core.engines.packed.ops.linear import MIN_ROWS, BFloat16Linear
from rerank_core.engines.workers import WorkerPool
from torch import Tensor
from torch.nn import functional


@pytest.fixture
def same_bfloat16_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether torch's own products in bfloat16, of the shapes that a test computes, give a row the same bits among any.

    They are oneDNN's, which on some processors sums up long rows in another order where there are more of them.
    """
    shapes: set[tuple[int, ...]] = set()
    make = BFloat16Linear.__init__

    def noted(self: BFloat16Linear, weight: Tensor, bias: Tensor | None) -> None:
        shapes.add(tuple(weight.shape))
        make(self, weight, bias)

    monkeypatch.setattr(BFloat16Linear, "__init__", noted)
    return lambda: all(WorkerPool(1, warm_up=lambda: None).map(_has_same_rows, sorted(shapes)))


@cache
def _has_same_rows(shape: tuple[int, ...]) -> bool:
    draw = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(size, generator=draw).bfloat16() for size in (shape, (1024, shape[1])))
    whole = functional.linear(x, weight)
    counts = range(MIN_ROWS, len(x), 16)
    return all(torch.equal(functional.linear(x[-rows:], weight), whole[-rows:]) for rows in counts)
