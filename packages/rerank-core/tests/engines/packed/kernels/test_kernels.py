"""Products and attention by kernels: near those in float32, and the same to the bit in any company."""

import itertools
import os
import re
import subprocess
import sys
import threading
from textwrap import dedent

import pytest
import torch
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops import attention
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.quantization import int8
from torch.nn import functional

if instructions.found() is None:
    pytest.skip("SKIPPED LOUDLY: this processor has no instructions for kernels, or no numba", allow_module_level=True)

from rerank_core.engines.packed.kernels.attention import KernelAttention
from rerank_core.engines.packed.kernels.bfloat16_attention import attention_kernel
from rerank_core.engines.packed.kernels.linear import ActivatedLinear, BFloat16Linear, Int8Linear
from rerank_core.engines.packed.kernels.sums import Sums

# Inputs and outputs: whole tiles; less than one; around the ends of tiles of bfloat16 and of bytes; several steps of
# inputs, and of outputs.
SHAPES = [(64, 96), (5, 3), (31, 33), (33, 31), (63, 64), (65, 17), (1024, 96), (200, 1), (2200, 300)]
ROWS = [1, 15, 16, 17, 31, 32, 33, 48, 130]


def test_sums_with_amx_are_made_of_its_instructions():
    """Compiled for a processor that has them, and read: what runs here may have its tiles in memory."""
    program = """
        from numba import types
        from rerank_core.engines.packed.kernels.tile_sums import TILES

        for add_up in (TILES.add_up_bfloat16, TILES.add_up_bytes):
            add_up.compile((types.intp,) * 10)
            print(*add_up.inspect_asm().values())
    """
    features = "+amx-tile,+amx-bf16,+amx-int8,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512bf16"
    processor = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": features}

    assembler = subprocess.check_output(
        [sys.executable, "-c", dedent(program)], env=os.environ | processor, text=True, timeout=60
    )

    found = set(re.findall(r"\b(?:tile|tdp)\w+", assembler))
    assert {"tileloadd", "tilestored", "tilezero", "tdpbf16ps", "tdpbusd"} <= found


@pytest.fixture(scope="module")
def per_sequence(sums) -> KernelAttention:
    return KernelAttention(attention_kernel(sums))


def some_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_rows(inputs: int) -> torch.Tensor:
    """Rows of different sizes, none centred, with columns that dwarf all others."""
    x = some_numbers(ROWS[-1], inputs) * torch.logspace(-2, 2, ROWS[-1])[:, None]
    x += x.abs().amax(1, keepdim=True) / 2
    x[:, ::40] *= 30
    return x


def outlier_columns(inputs: int) -> torch.Tensor:
    return torch.arange(0, inputs, 40)[: int8.OUTLIER_COLUMNS]


def products(sums: Sums, inputs: int, outputs: int) -> dict[str, BFloat16Linear | Int8Linear]:
    weight = some_numbers(outputs, inputs, seed=1) * torch.logspace(-1, 1, outputs)[:, None]
    bias = torch.linspace(-1, 1, outputs)
    return {
        "bfloat16": BFloat16Linear(weight, bias, sums),
        "bfloat16 without a bias": BFloat16Linear(weight, None, sums),
        "int8": Int8Linear(weight, bias, outlier_columns(inputs), levels=256, sums=sums),
    }


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_product_in_bfloat16_is_that_of_its_rounded_factors(sums, inputs, outputs):
    weight, bias, x = some_numbers(outputs, inputs, seed=1), some_numbers(outputs, seed=2), some_rows(inputs)
    golden = x.bfloat16().double() @ weight.bfloat16().double().t() + bias.double()

    product = BFloat16Linear(weight, bias, sums)(x)

    assert torch.allclose(product.double(), golden, rtol=1e-5, atol=1e-5 * float(golden.abs().max()))


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_product_in_int8_is_torchs_to_the_rounding_of_float32(sums, inputs, outputs):
    weight, bias, x = some_numbers(outputs, inputs, seed=1), some_numbers(outputs, seed=2), some_rows(inputs)
    columns = outlier_columns(inputs)
    golden = int8.Int8Linear(weight, bias, columns, levels=256)(x)

    product = Int8Linear(weight, bias, columns, levels=256, sums=sums)(x)

    assert torch.allclose(product, golden, rtol=1e-4, atol=2e-5 * float(golden.abs().max()))


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("kind", ["bfloat16", "bfloat16 without a bias", "int8"])
def test_a_row_has_the_same_bits_among_any_rows(sums, kind, inputs, outputs):
    product, x = products(sums, inputs, outputs)[kind], some_rows(inputs)
    golden = product(x)

    for rows in ROWS:
        assert torch.equal(product(x[:rows]), golden[:rows])
        assert torch.equal(product(x[-rows:]), golden[-rows:])


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_a_product_is_the_same_returned_written_or_added_and_of_a_view(sums, kind):
    product, x = products(sums, 64, 96)[kind], some_rows(64)
    golden = product(x)
    total, written = torch.ones(len(x), 96), torch.full((len(x), 100), 7.0)

    product.add_to(total, x)
    product(torch.cat([x, x], 1)[:, :64], written[:, :96])

    assert torch.equal(total, torch.ones(len(x), 96) + golden)
    assert torch.equal(written[:, :96], golden)
    assert (written[:, 96:] == 7).all()


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_an_activated_product_is_what_the_next_one_reads(sums, inputs, outputs):
    weight, bias, x = some_numbers(outputs, inputs, seed=1), some_numbers(outputs, seed=2), some_rows(inputs)
    narrow = some_numbers(40, outputs, seed=3)
    golden = functional.gelu(BFloat16Linear(weight, bias, sums)(x)).bfloat16().double() @ narrow.bfloat16().double().t()
    first, second = ActivatedLinear(weight, bias, sums), BFloat16Linear(narrow, None, sums)

    def through(rows: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(rows), 40)
        second.add_to(total, first(rows))
        return total

    found = through(x)
    # Of a number between two bfloat16 the last bits before the rounding decide.
    assert torch.allclose(found.double(), golden, rtol=1e-2, atol=2e-3 * float(golden.abs().max()))
    for rows in ROWS:
        assert torch.equal(through(x[:rows]), found[:rows])


def test_an_activated_product_can_be_given_memory_that_was_used(sums):
    first = ActivatedLinear(some_numbers(96, 64, seed=1), torch.zeros(96), sums)
    x, other = some_rows(64), some_rows(64) + 1
    golden = first(x).clone()

    assert torch.equal(first(x, first(other)), golden)
    assert torch.equal(first(x, first(other[:40])), golden)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_threads_at_once_have_the_bits_of_one(sums, kind):
    product = products(sums, 1024, 96)[kind]
    inputs = [some_numbers(130, 1024, seed=seed) for seed in range(4)]
    golden = [product(x) for x in inputs]
    found: dict[int, torch.Tensor] = {}

    def compute(number: int) -> None:
        found[number] = torch.stack([product(inputs[number]) for _ in range(20)])

    threads = [threading.Thread(target=compute, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, expected in enumerate(golden):
        assert (found[number] == expected).all()


def test_numbers_of_a_row_that_is_constant_or_beyond_all_others_stay_finite(sums):
    x = torch.stack([torch.zeros(64), torch.full((64,), 3.0), some_numbers(64), torch.full((64,), 1e30)])

    for product in products(sums, 64, 96).values():
        assert product(x).isfinite().all()


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
@pytest.mark.parametrize("inputs", [64, 41])
@pytest.mark.parametrize("column", [1, 40, -1])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_shows_in_its_row_alone(sums, wrong, column, inputs, kind):
    """Or nobody would notice a network that has gone wrong."""
    product, x = products(sums, inputs, 96)[kind], some_rows(inputs)
    golden = product(x)
    x[20, column] = wrong

    found = product(x)

    assert not found[20].isfinite().any()
    assert torch.equal(torch.cat([found[:20], found[21:]]), torch.cat([golden[:20], golden[21:]]))


def test_columns_that_are_not_in_one_piece_are_copied(sums):
    x = some_rows(64)

    for product in products(sums, 64, 96).values():
        assert torch.equal(product(x.t().contiguous().t()), product(x))


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    "out",
    [torch.zeros(20, 96).bfloat16(), torch.zeros(96, 20).t(), torch.zeros(19, 96), torch.zeros(20, 95)],
    ids=["numbers of another type", "columns in one piece", "fewer rows", "fewer columns"],
)
def test_memory_that_a_product_would_write_beyond_is_refused(sums, kind, out):
    product, x = products(sums, 64, 96)[kind], some_rows(64)[:20]

    with pytest.raises(TypeError, match=r"float32 \["):
        product.add_to(out, x)


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_rows_of_another_width_are_refused(sums, kind):
    with pytest.raises(TypeError, match=r"float32 \[20, 64\] is needed"):
        products(sums, 64, 96)[kind](some_rows(63)[:20])


# ---------------------------------------------------------------------------- attention


def sequences_of(lengths: list[int], heads: int, width: int, seed: int = 0) -> tuple[torch.Tensor, Bounds]:
    """Query, key and value side by side, as the engine has them, and where each sequence begins."""
    places = [0, *itertools.accumulate(lengths)]
    numbers = some_numbers(places[-1], 3 * heads * width, seed=seed) * 2
    return numbers, Bounds(places, torch.tensor(places, dtype=torch.int32))


def attended(attend: attention.Attention, numbers: torch.Tensor, bounds: Bounds, heads: int) -> torch.Tensor:
    out = torch.zeros(len(numbers), numbers.shape[1] // 3)
    query, key, value = numbers.view(len(numbers), 3, heads, -1).unbind(1)
    attend(query, key, value, bounds, out.view(len(out), heads, -1))
    return out


@pytest.mark.parametrize(("heads", "width"), [(2, 32), (3, 64), (2, 96), (1, 128)])
def test_attention_is_near_that_in_float32(per_sequence, heads, width):
    numbers, bounds = sequences_of([1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 300], heads, width)
    golden = attended(attention.per_sequence, numbers, bounds, heads)

    found = attended(per_sequence, numbers, bounds, heads)

    assert float((found - golden).abs().max()) < 0.1
    assert float((found - golden).abs().mean()) < 0.01


@pytest.mark.parametrize("reach", [0, 1, 5, 31, 32, 64, 200])
def test_local_attention_is_near_that_in_float32_and_has_its_bits_among_any_sequences(sums, reach):
    numbers, bounds = sequences_of([1, 2, 31, 32, 33, 64, 65, 150, 300], 2, 64)
    golden = attended(attention.LocalAttention(reach, device="cpu", dtype=torch.float32), numbers, bounds, 2)

    found = attended(KernelAttention(attention_kernel(sums), reach), numbers, bounds, 2)

    assert float((found - golden).abs().max()) < 0.2  # of few keys, rounding evens out less
    assert float((found - golden).abs().mean()) < 0.01
    for start, end in itertools.pairwise(bounds.places):
        alone = Bounds([0, end - start], torch.tensor([0, end - start], dtype=torch.int32))
        assert torch.equal(
            attended(KernelAttention(attention_kernel(sums), reach), numbers[start:end], alone, 2), found[start:end]
        )


def test_attention_of_scores_far_apart_takes_the_largest_alone(per_sequence):
    numbers, bounds = sequences_of([40], 1, 32)
    numbers[:, :64] *= 1000
    numbers = numbers.bfloat16().float()  # with equal products, the largest is the same one
    golden = attended(attention.per_sequence, numbers, bounds, 1)

    assert torch.allclose(attended(per_sequence, numbers, bounds, 1), golden, atol=0.05)


def test_attention_within_a_sequence_has_the_same_bits_among_any_sequences(per_sequence):
    heads, lengths = 2, [33, 1, 100, 16]
    numbers, bounds = sequences_of(lengths, heads, 64)
    golden = attended(per_sequence, numbers, bounds, heads)

    for start, end in itertools.pairwise(bounds.places):
        alone = Bounds([0, end - start], torch.tensor([0, end - start], dtype=torch.int32))
        assert torch.equal(attended(per_sequence, numbers[start:end], alone, heads), golden[start:end])


def test_rows_behind_the_last_sequence_are_left(per_sequence):
    numbers, bounds = sequences_of([20], 2, 32)
    out = torch.full((32, 2, 32), 5.0)
    query, key, value = torch.cat([numbers, numbers])[:32].view(32, 3, 2, 32).unbind(1)

    per_sequence(query, key, value, bounds, out)

    assert (out[20:] == 5).all()
    assert (out[:20] != 5).all()
