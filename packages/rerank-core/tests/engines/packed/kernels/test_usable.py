"""When kernels are used, and which."""

import importlib.util
import logging

import pytest
import rerank_core
import torch
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.ops.activations import ACTIVATIONS
from rerank_core.engines.packed.ops.fused import NOTHING
from rerank_core.engines.packed.ops.linear import BFloat16Linear, FloatLinear, OneDnnLinear, WideningLinear
from rerank_core.engines.packed.quantization import int8

FEATURES = dict.fromkeys(
    [
        *("amx-tile", "amx-bf16", "amx-int8", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
        *("avx512vnni", "avx512bf16"),
    ],
    True,
)


def forget() -> None:
    instructions.found.cache_clear()
    instructions.computes_rows.cache_clear()
    instructions.reads_rows.cache_clear()


@pytest.fixture(scope="module")
def numba_knows_this_machine() -> None:
    """Let numba look at the real features first: it does so once, before it compiles anything."""
    if importlib.util.find_spec("numba") is not None:
        import numba

        numba.njit(lambda: 0)()


@pytest.fixture
def machine(monkeypatch, numba_knows_this_machine):
    """A processor with AMX and AVX-512, on a system that allows it, with numba: each can be taken away."""

    def change(
        *,
        has=True,
        may=True,
        dots=True,
        vectors=True,
        rows=False,
        numba=True,
        compiles=True,
        for_this=True,
        known=True,
    ) -> None:
        forget()
        monkeypatch.setattr(cpu_features, "has_amx", lambda: has)
        monkeypatch.setattr(cpu_features, "may_use_amx", lambda: may)
        monkeypatch.setattr(cpu_features, "has_dot_products", lambda: dots)
        monkeypatch.setattr(cpu_features, "has_avx512", lambda: vectors)
        monkeypatch.setattr(cpu_features, "multiplies_by_onednn", lambda: rows)
        spec = importlib.util.find_spec("numba")
        monkeypatch.setattr(instructions, "find_spec", lambda name: spec if numba else None)
        if numba:
            monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: FEATURES if known else {})
            monkeypatch.setattr("numba.config.DISABLE_JIT", int(not compiles))
            monkeypatch.setattr("numba.config.CPU_NAME", None if for_this else "generic")

    yield change
    monkeypatch.undo()
    forget()


def test_tiles_are_used_where_the_processor_the_system_and_numba_allow_it(machine):
    pytest.importorskip("numba")
    machine()

    assert instructions.found() == "amx"


@pytest.mark.parametrize("missing", ["has", "may"])
def test_without_tiles_the_dot_products_of_avx512_are_used(missing, machine):
    pytest.importorskip("numba")
    machine(**{missing: False})

    assert instructions.found() == "avx512"


@pytest.mark.parametrize(
    "missing",
    [{"has": False, "dots": False}, {"numba": False}, {"compiles": False}, {"for_this": False}, {"known": False}],
)
def test_none_are_used_where_one_of_these_is_missing(missing, machine):
    pytest.importorskip("numba")
    machine(**missing)

    assert instructions.found() is None
    assert dtypes.numbers("cpu", "bfloat16")[1] is BFloat16Linear
    assert int8.product() is int8.Int8Linear
    with pytest.raises(RuntimeError, match="no instructions for these kernels"):
        instructions.best_sums()


@pytest.mark.parametrize(
    ("absent", "named"), [({}, "AMX"), ({"has": False}, "AVX-512 with BF16 and VNNI")], ids=["AMX", "AVX-512"]
)
def test_the_log_says_once_what_numba_would_bring(absent, named, machine, caplog):
    machine(numba=False, **absent)

    with caplog.at_level(logging.INFO, "rerank_core"):
        assert [instructions.found(), instructions.found()] == [None, None]

    assert [record.message for record in caplog.records] == [
        f"this processor has {named}: with rerank-core[kernels] bfloat16 and int8 are faster here"
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16-weights"])
def test_exact_products_are_never_made_of_rounded_numbers(dtype, machine):
    machine()
    weight = torch.zeros(64, 64)

    assert isinstance(dtypes.numbers("cpu", dtype)[1](weight, None), FloatLinear)
    assert isinstance(dtypes.last_product("cpu", dtype)(weight, None), FloatLinear)


def test_a_large_weight_is_read_as_it_lies_where_float32_is_best_computed_so(machine):
    pytest.importorskip("numba")
    machine(rows=True)
    from rerank_core.engines.packed.kernels.row_linear import RowLinear

    large, odd, small = torch.zeros(1024, 1024), torch.zeros(1030, 1026), torch.zeros(64, 64)
    product, widening = dtypes.float_product("cpu"), dtypes.widening_product()

    assert isinstance(product(large, None), RowLinear)
    assert isinstance(widening(large.bfloat16(), None), RowLinear)
    assert isinstance(product(odd, None), OneDnnLinear)  # of a shape that the kernel does not read
    assert isinstance(product(small, None), OneDnnLinear)  # nothing is compiled for a small model
    assert isinstance(widening(small.bfloat16(), None), WideningLinear)


def test_attention_of_large_models_is_our_own_where_float32_is_best_computed_so(machine):
    pytest.importorskip("numba")
    machine(has=False, dots=False, rows=True)

    assert [dtypes.own_attention("cpu", dtype, 1024, None) is not None for dtype in ("float32", "float16-weights")] == [
        True
    ] * 2
    assert dtypes.own_attention("cpu", "bfloat16", 1024, None) is None
    assert dtypes.own_attention("cpu", "float32", 64, None) is None
    assert dtypes.own_decoder_attention("cpu", "float32", 1024, is_causal=True, reach=None) is not None
    assert dtypes.own_decoder_attention("cpu", "float32", 64, is_causal=True, reach=None) is None


WIDTHS = (384, 32, 1536)  # of a hidden state, of a head and of a feed-forward


def test_rotation_gates_and_norms_of_large_models_are_one_pass_each(machine):
    pytest.importorskip("numba")
    machine(has=False, dots=False)

    fused = dtypes.fused("cpu", *WIDTHS)

    assert fused.rotate is not None
    assert fused.rms_norm is not None
    assert {ACTIVATIONS["gelu"], ACTIVATIONS["silu"]} == set(fused.gates)


@pytest.mark.parametrize("widths", [(64, 32, 128), (384, 48, 1536), (384, 32, 1000)])
def test_passes_over_few_numbers_or_over_other_widths_are_torchs(widths, machine):
    machine()

    assert dtypes.fused("cpu", *widths) == NOTHING


@pytest.mark.parametrize(
    "missing", [{"vectors": False}, {"numba": False}, {"compiles": False}, {"for_this": False}, {"known": False}]
)
def test_passes_are_torchs_where_one_of_these_is_missing(missing, machine):
    machine(**missing)

    assert dtypes.fused("cpu", *WIDTHS) == NOTHING


def test_without_numba_the_log_says_once_what_it_would_bring_to_float32(machine, caplog):
    machine(rows=True, numba=False)

    with caplog.at_level(logging.INFO, "rerank_core"):
        products = [dtypes.float_product("cpu")(torch.zeros(1024, 1024), None) for _ in range(2)]

    assert all(isinstance(product, OneDnnLinear) for product in products)
    assert [record.message for record in caplog.records] == [
        "this processor has AVX-512: with rerank-core[kernels] float32 is faster here"
    ]


def test_a_gpu_has_none(machine):
    machine(rows=True)

    assert not dtypes.has_kernels("cuda:0", "bfloat16")
    assert dtypes.own_attention("cuda:0", "float32", 1024, None) is None
    assert dtypes.own_decoder_attention("cuda:0", "bfloat16", 1024, is_causal=True, reach=None) is None


@pytest.mark.skipif(
    instructions.found() is None, reason="SKIPPED LOUDLY: this processor has no instructions for kernels, or no numba"
)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_with_kernels_and_without_scores_are_near_each_other(dtype, tiny, machine):
    documents = ["the giant panda lives in China", "bamboo " * 60]
    with_kernels = rerank_core.load(str(tiny("bert")), dtype=dtype).score("panda", documents).values
    machine(has=False, dots=False)

    without = rerank_core.load(str(tiny("bert")), dtype=dtype).score("panda", documents).values

    assert without != with_kernels
    assert without == pytest.approx(with_kernels, abs=0.02)
