"""Passes over float32 rows by kernels: torch's numbers, and a row's bits among any rows."""

from collections.abc import Callable

import pytest
import torch
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.activations import ACTIVATIONS, Gate
from rerank_core.engines.packed.ops.norm import RMSNorm
from rerank_core.engines.packed.ops.rotary import Angles, Rotary

if not instructions.computes_rows():
    pytest.skip("SKIPPED LOUDLY: this processor has no AVX-512, or there is no numba", allow_module_level=True)

from rerank_core.engines.packed.kernels.passes import FUSED

ROWS = [1, 2, 17, 40]
ACTIVATED = pytest.mark.parametrize("name", ["gelu", "silu"])


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def has_its_bits_among_any(compute: Callable[[slice], torch.Tensor]) -> bool:
    """Return whether some rows give what they give among all."""
    whole = compute(slice(0, ROWS[-1]))
    parts = [slice(0, rows) for rows in ROWS] + [slice(ROWS[-1] - rows, ROWS[-1]) for rows in ROWS]
    return all(torch.equal(compute(part), whole[part]) for part in parts)


@pytest.mark.parametrize("width", [32, 64, 96, 128])
@pytest.mark.parametrize("heads", [1, 3])
def test_heads_are_rotated_to_torchs_bits_and_nothing_beside_them(heads, width):
    places = torch.randint(0, 500, (40,), generator=torch.Generator().manual_seed(1))
    angles = Rotary.of(theta=10_000, stretch=1, width=width, positions=500, device="cpu").angles(places)
    beside = some(40, 3, heads, width)  # as queries lie beside keys and values
    golden = beside.clone()

    angles.rotate(golden[:, 1])
    Angles(angles.cosines, angles.sines, FUSED.rotate).rotate(beside[:, 1])

    assert torch.equal(beside, golden)


def test_one_angle_for_all_rows_is_read_as_such():
    x, cosines, sines = some(6, 2, 32), some(1, 1, 16, seed=1).expand(6, 1, 16), some(1, 1, 16, seed=2).expand(6, 1, 16)
    golden = x.clone()

    Angles(cosines, sines).rotate(golden)
    Angles(cosines, sines, FUSED.rotate).rotate(x)

    assert torch.equal(x, golden)


@pytest.mark.parametrize("shape", [(40, 32), (40, 1024), (40, 3, 128)])
def test_an_rms_norm_is_torchs_to_the_rounding_of_float32(shape):
    x, weight = some(*shape) * torch.logspace(-3, 3, 40).view(40, *[1] * (len(shape) - 1)), some(shape[-1], seed=1)
    assert FUSED.rms_norm is not None

    found = FUSED.rms_norm(x, weight, 1e-6)

    assert torch.allclose(found, RMSNorm(weight, 1e-6)(x), rtol=1e-6, atol=1e-7)
    assert has_its_bits_among_any(lambda rows: FUSED.rms_norm(x[rows], weight, 1e-6))


def test_an_rms_norm_of_zeros_is_zero_and_one_of_no_number_shows_in_its_row_alone():
    x = some(3, 32)
    x[0], x[1, 5] = 0, float("nan")
    assert FUSED.rms_norm is not None

    found = FUSED.rms_norm(x, torch.ones(32), 1e-6)

    assert (found[0] == 0).all()
    assert found[1].isnan().all()
    assert found[2].isfinite().all()


@ACTIVATED
def test_a_gate_is_right_to_the_rounding_of_float32(name):
    halves = torch.cat([some(40, 96) * torch.logspace(-3, 2, 40)[:, None], some(40, 96, seed=1)], 1)
    x, other = halves.clone().chunk(2, 1)
    golden = Gate(ACTIVATIONS[name])(x.double(), other.double())

    found = Gate(ACTIVATIONS[name], FUSED.gates[ACTIVATIONS[name]])(x, other)

    assert found.data_ptr() == x.data_ptr()
    assert torch.allclose(found.double(), golden, rtol=1e-6, atol=3e-6)
    assert torch.equal(other, halves[:, 96:])


@ACTIVATED
def test_a_row_of_a_gate_has_its_bits_among_any_rows(name):
    x, other = some(40, 96), some(40, 96, seed=1)

    def gated(rows: slice) -> torch.Tensor:
        mine = x[rows].clone()
        FUSED.gates[ACTIVATIONS[name]](mine, other[rows])
        return mine

    assert has_its_bits_among_any(gated)


@ACTIVATED
def test_a_gate_of_numbers_far_from_zero_is_that_number_or_nothing(name):
    x = torch.tensor([[100.0, 1e4, 3e38, -100.0, -1e4, -1e30, 0.0, -0.0] * 2])

    FUSED.gates[ACTIVATIONS[name]](x, torch.ones(1, 16))

    assert x[0, :3].tolist() == pytest.approx([100, 1e4, 3e38], rel=1e-6)
    assert x[0, 3:8].abs().max() < 1e-6


@ACTIVATED
def test_what_is_no_number_stays_none_behind_a_gate(name):
    x = torch.zeros(2, 16)
    x[0, 3] = float("nan")

    FUSED.gates[ACTIVATIONS[name]](x, torch.ones(2, 16))

    assert x[0, 3].isnan()
    assert x[1].isfinite().all()


def test_columns_that_are_not_in_one_piece_are_refused():
    with pytest.raises(TypeError, match=r"float32 \[16, 32\] is needed"):
        FUSED.gates[ACTIVATIONS["gelu"]](torch.zeros(32, 16).t(), torch.zeros(16, 32))
