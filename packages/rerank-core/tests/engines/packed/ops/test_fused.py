"""Operations that a GPU fuses: they are used only where they give torch's numbers."""

import logging
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from rerank_core.engines.packed.ops import fused
from rerank_core.engines.packed.ops.fused import NOTHING, AddNorm, Rotate, fused_on, is_right
from rerank_core.engines.packed.ops.linear import FloatLinear
from rerank_core.engines.packed.ops.norm import FusedRMSNorm, Norm, RMSNorm
from rerank_core.engines.packed.ops.rotary import Angles, Rotary
from torch import Tensor
from torch.nn import functional


def add_norm(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    return x.copy_(functional.layer_norm(x + y, weight.shape, weight, bias, epsilon))


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> None:
    Angles(cosines, sines).rotate(x)


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    ("add_norm", "rotate", "right"),
    [
        (add_norm, rotate, True),
        (lambda x, y, weight, bias, epsilon: add_norm(x, y, weight, None, epsilon), rotate, False),
        (lambda x, y, weight, bias, epsilon: add_norm(x, y, weight, weight, epsilon), rotate, False),
        (lambda x, y, weight, bias, epsilon: add_norm(x, -y, weight, bias, epsilon), rotate, False),
        (add_norm, lambda x, cosines, sines: rotate(x, cosines, -sines), False),
        (add_norm, lambda x, cosines, sines: None, False),
    ],
)
def test_operations_that_give_other_numbers_are_found_out(add_norm: AddNorm, rotate: Rotate, right: bool) -> None:
    assert is_right(add_norm, rotate, "cpu") is right


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_fuse_nothing_and_say_nothing(device: str, caplog: pytest.LogCaptureFixture) -> None:
    assert fused_on(device) == NOTHING
    assert not caplog.records


@pytest.mark.skipif(find_spec("triton") is not None, reason="triton is here")
def test_a_gpu_without_triton_computes_by_torch_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    fused.fused_on.cache_clear()

    with caplog.at_level(logging.WARNING):
        assert fused_on("cuda:0") == NOTHING

    assert "several passes, which is slower: ModuleNotFoundError: No module named 'triton'" in caplog.text


def test_a_norm_of_a_sum_is_the_same_fused_and_not() -> None:
    x, read, linear = some(5, 16), some(5, 24), FloatLinear(some(16, 24), some(16))
    weight, bias = some(16), some(1, 16)[0]

    plain = Norm(weight, bias, 1e-5).of_sum(x.clone(), linear, read)
    at_once = Norm(weight, bias, 1e-5, add_norm).of_sum(x.clone(), linear, read)

    assert torch.allclose(plain, at_once, atol=1e-6)


def test_rotary_positions_are_the_same_fused_and_not() -> None:
    tables = Rotary.of(theta=10_000, stretch=1, width=16, positions=40, device="cpu")
    places, heads = torch.tensor([3, 0, 39]), some(3, 2, 16)
    plain, at_once = heads.clone(), heads.clone()

    tables.angles(places).rotate(plain)
    Rotary(tables.cosines, tables.sines, rotate).angles(places).rotate(at_once)

    assert torch.equal(plain, at_once)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_root_mean_square_norm_is_one_operation_where_16_bits_can_say_its_weight(dtype: torch.dtype) -> None:
    weight, x = some(32).to(dtype).float(), some(6, 32).to(dtype)
    norm = RMSNorm(weight, 1e-6)

    at_once = norm.on_device(dtype)

    assert isinstance(at_once, FusedRMSNorm)
    assert torch.allclose(at_once(x).float(), norm(x).float(), rtol=2 * torch.finfo(dtype).eps)


def test_a_weight_that_16_bits_would_round_keeps_its_own_operations() -> None:
    norm = RMSNorm(some(32) + 1, 1e-6)

    assert norm.on_device(torch.bfloat16) is norm
    assert isinstance(norm.on_device(torch.float32), FusedRMSNorm)


INTERPRETED = """
import torch
from rerank_core.engines.packed.ops import fused, triton_kernels

assert fused.is_right(triton_kernels.add_norm, triton_kernels.rotate, "cpu")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="SKIPPED LOUDLY: needs triton, and torch for a CPU has none")
def test_the_kernels_give_torch_s_numbers_where_triton_interprets_them() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}

    subprocess.run([sys.executable, "-c", INTERPRETED], check=True, env=environment)
