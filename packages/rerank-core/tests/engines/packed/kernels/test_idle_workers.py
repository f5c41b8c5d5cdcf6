"""What kernels compute with the help of idle workers has the bits that one worker computes alone."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import rerank_core
import torch
from rerank_core import ScoreOptions
from rerank_core.engines import workers
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.continued import LayerKeys, Places
from rerank_core.engines.packed.ops.rotary import Rotary
from rerank_core.engines.workers import WorkerPool, in_pieces
from rerank_core.testing.checkpoints import WORDS

Compute: TypeAlias = Callable[[], torch.Tensor]
WithHelp: TypeAlias = Callable[[Compute], torch.Tensor]

ROWS = [1, 33, 130]

of_fewer_bits = pytest.mark.skipif(
    instructions.found() is None, reason="SKIPPED LOUDLY: this processor has no instructions for kernels, or no numba"
)
in_float32 = pytest.mark.skipif(
    not instructions.reads_rows(), reason="SKIPPED LOUDLY: float32 is not best computed by kernels here, or no numba"
)

in_rows = pytest.mark.skipif(
    not instructions.computes_rows(), reason="SKIPPED LOUDLY: this processor has no AVX-512, or there is no numba"
)


@pytest.fixture
def with_help(monkeypatch) -> Iterator[WithHelp]:
    """Computes in one of three workers, of which the others have nothing to do."""
    monkeypatch.setattr(workers, "_LEAST_PIECE", 1e-9)
    pool = WorkerPool(3, lambda: None)

    def compute(work: Compute) -> torch.Tensor:
        def in_worker(_: int) -> torch.Tensor:
            pieces: list[int] = []
            for _ in range(10_000):  # until the others wait: they do so within the first few
                if len(pieces) < 3:
                    pieces.clear()
                    in_pieces(lambda first, end: pieces.append(first), 3, 1, 3)
            assert len(pieces) == 3
            return work()

        return pool.map(in_worker, [0])[0]

    return compute


def some_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@of_fewer_bits
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (1056, 700), (200, 33)])
def test_products_of_fewer_bits(inputs, outputs, rows, with_help):
    from rerank_core.engines.packed.kernels.linear import ActivatedLinear, BFloat16Linear, Int8Linear

    weight, bias, x = some_numbers(outputs, inputs), some_numbers(outputs, seed=1), some_numbers(rows, inputs, seed=2)
    activated, back = ActivatedLinear(weight, bias), BFloat16Linear(some_numbers(inputs, outputs, seed=3), None)

    for product in (BFloat16Linear(weight, bias), Int8Linear(weight, bias, torch.arange(0, inputs, 80), levels=256)):
        assert torch.equal(with_help(lambda product=product: product(x)), product(x))

    def twice() -> torch.Tensor:
        total = torch.ones(rows, inputs)
        back.add_to(total, activated(x))
        return total

    assert torch.equal(with_help(twice), twice())


@in_float32
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_products_in_float32(numbers, rows, with_help):
    from rerank_core.engines.packed.kernels.row_linear import RowLinear

    x = some_numbers(rows, 1056)
    for weight in (some_numbers(516, 1056, seed=1).to(numbers), some_numbers(517, 1056, seed=1).to(numbers)[1:]):
        product = RowLinear(weight, some_numbers(516, seed=2))

        def added(product: RowLinear = product) -> torch.Tensor:
            total = product(x)
            product.add_to(total, x)
            return total

        assert torch.equal(with_help(added), added())


@of_fewer_bits
def test_attention_of_fewer_bits(with_help):
    from rerank_core.engines.packed.kernels.attention import KernelAttention
    from rerank_core.engines.packed.kernels.bfloat16_attention import attention_kernel

    attend, query = KernelAttention(attention_kernel()), some_numbers(150, 3 * 5 * 32).view(150, 3, 5, 32)
    bounds = Bounds([0, 33, 150], torch.tensor([0, 33, 150], dtype=torch.int32))

    def attended() -> torch.Tensor:
        out = torch.zeros(150, 5, 32)
        attend(query[:, 0], query[:, 1], query[:, 2], bounds, out)
        return out

    assert torch.equal(with_help(attended), attended())


@in_float32
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_in_float32(is_causal, with_help):
    from rerank_core.engines.packed.kernels.attention import ContinuedKernelAttention
    from rerank_core.engines.packed.kernels.float_attention import FLOAT32

    query, key, value = some_numbers(150, 12, 32), some_numbers(150, 4, 32, seed=1), some_numbers(150, 4, 32, seed=2)
    bounds = Bounds([0, 33, 150], torch.tensor([0, 33, 150], dtype=torch.int32))
    keys = LayerKeys((key, value), [None, None], Places(bounds, bounds, [0, 0]))

    def attended() -> torch.Tensor:
        out = torch.zeros(150, 12, 32)
        ContinuedKernelAttention(FLOAT32, is_causal)(query, keys, out)
        return out

    assert torch.equal(with_help(attended), attended())


@in_rows
def test_passes_over_rows(with_help):
    from rerank_core.engines.packed.kernels.passes import FUSED

    x, other, weight = some_numbers(33, 3 * 64), some_numbers(33, 2 * 192, seed=1), some_numbers(192, seed=2)
    angles = Rotary.of(theta=100, stretch=1, width=64, positions=33, device="cpu").angles(torch.arange(33))
    assert FUSED.rotate is not None
    assert FUSED.rms_norm is not None

    def rotated() -> torch.Tensor:
        heads = x.clone().view(33, 3, 64)
        FUSED.rotate(heads, angles.cosines, angles.sines)
        return heads

    def gated() -> torch.Tensor:
        numbers = x.clone()
        for multiply in FUSED.gates.values():
            multiply(numbers, other[:, 192:])
        return numbers

    for compute in (rotated, gated, lambda: FUSED.rms_norm(x, weight, 1e-6)):
        assert torch.equal(with_help(compute), compute())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_one_lone_pair_has_the_score_that_it_has_in_one_thread(dtype, tiny, monkeypatch):
    if dtype == "bfloat16" and not cpu_features.has_bfloat16():
        pytest.skip("SKIPPED LOUDLY: this processor does not compute in bfloat16")
    monkeypatch.setattr(workers, "_LEAST_PIECE", 1e-9)
    before, scores = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            model = rerank_core.load(str(tiny("xlm-roberta")), device="cpu", engine="packed", dtype=dtype)
            for _ in range(5):
                scores.add(model.score("giant panda", [" ".join(WORDS[:90])], ScoreOptions(raw=True)).values[0])
    finally:
        torch.set_num_threads(before)

    assert len(scores) == 1
