"""Products and attention in float32 by kernels: near those of torch, and the same to the bit in any company."""

import itertools

import pytest
import torch
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops import attention
from rerank_core.engines.packed.ops.attention import Bounds

if not instructions.reads_rows():
    pytest.skip("SKIPPED LOUDLY: float32 is not best computed by kernels here, or no numba", allow_module_level=True)

from rerank_core.engines.packed.kernels.attention import KernelAttention
from rerank_core.engines.packed.kernels.float_attention import FLOAT32
from rerank_core.engines.packed.kernels.row_linear import RowLinear, fits

# Inputs and outputs: less than one part of the weight, and around the ends of parts.
SHAPES = [(32, 4), (96, 64), (1024, 68), (1056, 128), (2080, 72)]
ROWS = [1, 5, 6, 7, 31, 32, 130, 260]
NUMBERS = [torch.float32, torch.bfloat16, torch.float16]


def some_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lying(weight: torch.Tensor, *, aligned: bool) -> torch.Tensor:
    """The same weight, as torch lays it or as a file has it: at any address."""
    if aligned:
        return weight
    memory = torch.zeros(weight.numel() + 32, dtype=weight.dtype)
    place = -memory.data_ptr() % 64 // weight.element_size() + 3
    return memory[place : place + weight.numel()].view(weight.shape).copy_(weight)


@pytest.mark.parametrize("aligned", [True, False], ids=["on a cache line", "anywhere"])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_product_is_that_of_the_weights_numbers_and_a_row_has_its_bits_among_any(inputs, outputs, numbers, aligned):
    weight = lying(some_numbers(outputs, inputs, seed=1).to(numbers), aligned=aligned)
    bias, x = some_numbers(outputs, seed=2), some_numbers(ROWS[-1], inputs)
    product = RowLinear(weight, bias)

    found = product(x)

    golden = x.double() @ weight.double().t() + bias.double()
    assert torch.allclose(found.double(), golden, rtol=1e-5, atol=1e-4)
    for rows in ROWS:
        assert torch.equal(product(x[:rows]), found[:rows])
        assert torch.equal(product(x[-rows:]), found[-rows:])


@pytest.mark.parametrize("bias", [None, some_numbers(64, seed=2)], ids=["without a bias", "with one"])
def test_a_product_is_the_same_written_or_added_and_of_a_view(bias):
    product, x = RowLinear(some_numbers(64, 2080, seed=1), bias), some_numbers(50, 2080)
    golden = product(x)
    total, written = some_numbers(50, 64, seed=3), torch.full((50, 70), 7.0)
    before = total.clone()

    product.add_to(total, x)
    product(torch.cat([x, x], 1)[:, :2080], written[:, :64])

    assert torch.allclose(total, before + golden, atol=1e-4)
    assert torch.equal(written[:, :64], golden)
    assert (written[:, 64:] == 7).all()
    for rows in (1, 7):
        alone = before[:rows].clone()
        product.add_to(alone, x[:rows])
        assert torch.equal(alone, total[:rows])


def test_a_number_that_is_not_finite_shows_in_its_row_alone():
    product, x = RowLinear(some_numbers(64, 96, seed=1), None), some_numbers(20, 96)
    golden = product(x)
    x[7, 3] = float("nan")

    found = product(x)

    assert not found[7].isfinite().any()
    assert torch.equal(torch.cat([found[:7], found[8:]]), torch.cat([golden[:7], golden[8:]]))


@pytest.mark.parametrize(
    "weight",
    [torch.zeros(64, 33), torch.zeros(63, 64), torch.zeros(64, 64).double(), torch.zeros(64, 64).t()[:32]],
    ids=["inputs", "outputs", "numbers", "columns in one piece"],
)
def test_a_weight_that_the_kernel_does_not_read_is_refused(weight):
    if weight.stride(1) == 1:
        assert not fits(weight)
    with pytest.raises(TypeError, match="a weight of other numbers or another shape"):
        RowLinear(weight, None)


@pytest.mark.parametrize(
    "out",
    [torch.zeros(20, 64).double(), torch.zeros(64, 20).t(), torch.zeros(19, 64), torch.zeros(20, 63)],
    ids=["numbers of another type", "columns in one piece", "fewer rows", "fewer columns"],
)
def test_memory_that_a_product_would_write_beyond_is_refused(out):
    with pytest.raises(TypeError, match=r"float32 \["):
        RowLinear(torch.zeros(64, 96), None).add_to(out, torch.zeros(20, 96))


# ---------------------------------------------------------------------------- attention


def sequences_of(lengths: list[int], heads: int, width: int) -> tuple[torch.Tensor, Bounds]:
    """Query, key and value side by side, as the engine has them, and where each sequence begins."""
    places = [0, *itertools.accumulate(lengths)]
    return some_numbers(places[-1], 3 * heads * width) * 2, Bounds(places, torch.tensor(places, dtype=torch.int32))


def attended(function: attention.Attention, numbers: torch.Tensor, bounds: Bounds, heads: int) -> torch.Tensor:
    out = torch.full((len(numbers), numbers.shape[1] // 3), 5.0)
    query, key, value = numbers.view(len(numbers), 3, heads, -1).unbind(1)
    function(query, key, value, bounds, out.view(len(out), heads, -1))
    return out


@pytest.mark.parametrize(("heads", "width"), [(2, 32), (3, 64), (2, 96), (1, 128)])
def test_attention_is_torchs_to_the_rounding_of_float32(heads, width):
    numbers, bounds = sequences_of([1, 2, 5, 6, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 97, 300], heads, width)

    found = attended(KernelAttention(FLOAT32), numbers, bounds, heads)

    assert torch.allclose(found, attended(attention.per_sequence, numbers, bounds, heads), atol=2e-5)


@pytest.mark.parametrize("reach", [0, 1, 5, 31, 32, 64, 200])
def test_local_attention_is_torchs_to_the_rounding_of_float32_and_has_its_bits_among_any_sequences(reach):
    numbers, bounds = sequences_of([1, 2, 5, 6, 63, 64, 65, 129, 150, 300], 2, 64)
    golden = attended(attention.LocalAttention(reach, device="cpu", dtype=torch.float32), numbers, bounds, 2)

    found = attended(KernelAttention(FLOAT32, reach), numbers, bounds, 2)

    assert torch.allclose(found, golden, atol=2e-5)
    for start, end in itertools.pairwise(bounds.places):
        alone = Bounds([0, end - start], torch.tensor([0, end - start], dtype=torch.int32))
        assert torch.equal(attended(KernelAttention(FLOAT32, reach), numbers[start:end], alone, 2), found[start:end])


def test_attention_of_scores_far_apart_takes_the_largest_alone():
    numbers, bounds = sequences_of([40], 1, 32)
    numbers[:, :64] *= 1000

    found = attended(KernelAttention(FLOAT32), numbers, bounds, 1)

    assert torch.allclose(found, attended(attention.per_sequence, numbers, bounds, 1), atol=1e-2)


def test_attention_within_a_sequence_has_the_same_bits_among_any_sequences():
    heads, lengths = 2, [33, 1, 100, 16]
    numbers, bounds = sequences_of(lengths, heads, 64)
    golden = attended(KernelAttention(FLOAT32), numbers, bounds, heads)

    for start, end in itertools.pairwise(bounds.places):
        alone = Bounds([0, end - start], torch.tensor([0, end - start], dtype=torch.int32))
        assert torch.equal(attended(KernelAttention(FLOAT32), numbers[start:end], alone, heads), golden[start:end])


def test_rows_behind_the_last_sequence_are_left():
    numbers, _ = sequences_of([32], 2, 32)
    bounds = Bounds([0, 20], torch.tensor([0, 20], dtype=torch.int32))

    out = attended(KernelAttention(FLOAT32), numbers, bounds, 2)

    assert (out[20:] == 5).all()
    assert (out[:20] != 5).all()


def test_keys_of_other_strides_than_values_are_refused():
    numbers, bounds = sequences_of([20], 2, 32)
    query, key, value = numbers.view(20, 3, 2, 32).unbind(1)

    with pytest.raises(TypeError, match="strides of one size"):
        KernelAttention(FLOAT32)(query, key.contiguous(), value, bounds, torch.zeros(20, 2, 32))
