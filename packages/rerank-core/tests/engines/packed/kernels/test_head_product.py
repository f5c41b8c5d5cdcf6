"""Products of heads that have a weight of their own: near torch's, and a row has its bits among any rows."""

import pytest
import torch
from rerank_core.engines.packed.kernels import instructions

if not instructions.computes_rows():
    pytest.skip("SKIPPED LOUDLY: this processor has no AVX-512, or there is no numba", allow_module_level=True)

from rerank_core.engines.packed.kernels.head_product import multiply_heads

ROWS = [1, 5, 6, 7, 40]


def some_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("heads", "inputs", "outputs"), [(3, 32, 384), (2, 96, 32), (4, 64, 1024), (1, 5, 160)])
def test_each_head_is_multiplied_by_its_own_weight_and_a_row_has_its_bits_among_any(heads, inputs, outputs):
    weight, x = some_numbers(heads, inputs, outputs, seed=1), some_numbers(ROWS[-1], heads, inputs)

    found = multiply_heads(x, weight)

    golden = torch.einsum("rhi,hio->rho", x.double(), weight.double())
    assert torch.allclose(found.double(), golden, rtol=1e-5, atol=1e-4)
    for rows in ROWS:
        assert torch.equal(multiply_heads(x[:rows], weight), found[:rows])
        assert torch.equal(multiply_heads(x[-rows:], weight), found[-rows:])


@pytest.mark.parametrize(
    "x",
    [some_numbers(40, 32, 4).transpose(1, 2), some_numbers(40, 4, 64)[:, :, :32], some_numbers(80, 4, 32)[::2]],
    ids=["inputs apart", "heads apart", "rows apart"],
)
def test_rows_that_are_not_in_one_piece_have_the_same_product(x):
    weight = some_numbers(4, 32, 64, seed=1)

    assert torch.equal(multiply_heads(x, weight), multiply_heads(x.contiguous(), weight))


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(2, 64, 32).transpose(1, 2),
        torch.zeros(2, 32, 128)[:, :, :64],
        torch.zeros(2, 32, 40),
        torch.zeros(3, 32, 64),
        torch.zeros(2, 32, 64).double(),
    ],
    ids=["outputs apart", "inputs apart", "no multiple of 32", "another number of heads", "other numbers"],
)
def test_a_weight_that_the_kernel_does_not_read_is_refused(weight):
    with pytest.raises(TypeError):
        multiply_heads(torch.zeros(3, 2, 32), weight)
