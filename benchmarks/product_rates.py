"""The best rate of a network's own matrix products on this core: what a perfect engine would compute at.

For each dtype MKL and oneDNN are asked for the same product, and the quicker one counts. The numbers are random: of
equal ones a processor may compute more in a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from statistics import median
from typing import Any, TypeAlias

ROWS = 1024  # tokens of the batches that are timed
_PRODUCTS = 20  # of one thread in a round

Product: TypeAlias = Callable[[], Any]


def rates(shapes: Iterable[Sequence[int]], dtypes: Iterable[str]) -> dict[str, float]:
    """Billions of operations a second, by dtype: of one product of each shape (inputs, outputs), one after another."""
    found = {}
    for dtype in dtypes:
        operations = seconds = 0.0
        for inputs, outputs in shapes:
            operations += 2 * ROWS * inputs * outputs
            seconds += min(map(_seconds, _products(dtype, inputs, outputs)))
        found[dtype] = operations / seconds / 1e9
    return found


def speedup_of_independent_products(threads: int, rounds: int) -> float:
    """The speedup of threads that compute products of their own at once, against one thread that computes them all.

    It is below the number of threads where cores share arithmetic units or memory, or where their clock is slower
    together: no program gains more.
    """
    import torch

    def compute(_: int) -> None:
        torch.set_num_threads(1)  # for this thread
        for _ in range(_PRODUCTS):
            torch.mm(rows, weight)

    rows, weight = torch.randn(ROWS, ROWS), torch.randn(ROWS, ROWS)
    alone: list[float] = []
    together: list[float] = []
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(threads) as all_threads:
        for _ in range(rounds + 1):
            for executor, seconds in ((one, alone), (all_threads, together)):
                began = time.perf_counter()
                list(executor.map(compute, range(threads)))
                seconds.append(time.perf_counter() - began)
    return median(alone[1:]) / median(together[1:])


def _seconds(product: Product) -> float:
    """CPU seconds, the smaller of two calls."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        product()
        taken.append(time.process_time() - began)
    return min(taken)


@cache
def _products(dtype: str, inputs: int, outputs: int) -> tuple[Product, ...]:
    """The same product [rows, inputs] by [inputs, outputs], by every library that may be the quickest."""
    return tuple({"float32": _float32, "bfloat16": _bfloat16, "int8": _int8}[dtype](inputs, outputs))


def _float32(inputs: int, outputs: int) -> Iterator[Product]:
    import torch

    rows, weight = torch.randn(ROWS, inputs), torch.randn(outputs, inputs)
    yield lambda: torch.mm(rows, weight.t())  # MKL, where torch has it
    if _has_onednn():
        yield lambda: torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


def _bfloat16(inputs: int, outputs: int) -> Iterator[Product]:
    import torch

    rows, weight = (torch.randn(count, inputs).bfloat16() for count in (ROWS, outputs))
    bias = torch.zeros(outputs, dtype=torch.bfloat16)
    yield lambda: torch.addmm(bias, rows, weight.t())
    if _has_onednn():
        yield lambda: torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


def _int8(inputs: int, outputs: int) -> Iterator[Product]:
    import torch

    rows, weight = (torch.randint(-127, 128, (count, inputs), dtype=torch.int8) for count in (ROWS, outputs))
    yield lambda: torch._int_mm(rows, weight.t())
    if _has_onednn():
        unsigned, scale, zeros = (
            rows.abs().to(torch.uint8),
            torch.ones(outputs),
            torch.zeros(outputs, dtype=torch.int32),
        )
        packed = torch.ops.onednn.qlinear_prepack(weight, None)
        operands = (unsigned, 1.0, 0, packed, scale, zeros, None, 1.0, 0)
        yield lambda: torch.ops.onednn.qlinear_pointwise(*operands, torch.float32, "none", [], "")
        yield lambda: torch.ops.onednn.qlinear_pointwise(*operands, torch.bfloat16, "none", [], "")


def _has_onednn() -> bool:
    import torch

    return bool(torch._C._has_mkldnn)
