"""The types that trade exactness for speed or memory: how near they stay, and that company still decides nothing."""

import logging
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, InvalidRequest, ScoreOptions
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.ops import mkl_linear
from rerank_core.engines.packed.ops.linear import (
    BFloat16Linear,
    DeviceLinear,
    FloatLinear,
    OneDnnLinear,
    WideningLinear,
    filled,
)
from rerank_core.engines.packed.ops.mkl_linear import MklLinear
from rerank_core.engines.packed.quantization import float16
from rerank_core.engines.packed.quantization.float16 import Float16WeightsLinear, WidenedLinear
from rerank_core.engines.packed.quantization.int8 import Int8Linear
from rerank_core.engines.workers import WorkerPool
from rerank_core.testing.checkpoints import WORDS

QUERY = "where does the giant panda live?"

FLOAT16_WEIGHTS = (Float16WeightsLinear, WidenedLinear)

# As far as a logit may be from float32's, relative to max(1, |logit|): measured on a trained model, with room.
TOLERANCE = {"float16-weights": 5e-3, "bfloat16": 0.1, "int8": 0.25}


def some_text(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def runs_here(dtype: str) -> bool:
    return {
        "float32": lambda: True,
        "float16-weights": cpu_features.has_float16_weights,
        "bfloat16": cpu_features.has_bfloat16,
        "int8": cpu_features.has_int8,
    }[dtype]()


def skip_without(dtype: str) -> None:
    if not runs_here(dtype):
        pytest.skip(f"SKIPPED LOUDLY: this processor does not compute in {dtype}")


@pytest.fixture(params=TOLERANCE)
def dtype(request) -> str:
    skip_without(request.param)
    return request.param


@pytest.fixture(
    params=[
        "minilm-ce",
        "bert",
        "bert-relative",
        "xlm-roberta",
        "xlm-roberta-xl",
        "modernbert",
        "deberta-v2",
        "deberta-v2-convolution",
        "lite",
    ]
)
def source(request, tiny, shared) -> str:
    if request.param == "lite":
        return "lite"
    return str(shared(request.param) if request.param == "minilm-ce" else tiny(request.param))


def test_scores_stay_near_those_of_float32(source, dtype):
    documents = [some_text(words, words) for words in (0, 1, 7, 30, 120, 400)]
    golden = rerank_core.load(source, device="cpu").score(QUERY, documents, ScoreOptions(raw=True)).values
    model = rerank_core.load(source, device="cpu", dtype=dtype)

    scores = model.score(QUERY, documents, ScoreOptions(raw=True)).values

    assert model.info.dtype == dtype
    if not (dtype == "float16-weights" and "minilm-ce" in source):  # whose weights are float16 in the file already
        assert scores != golden
    assert scores == pytest.approx(golden, abs=TOLERANCE[dtype], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", *TOLERANCE], indirect=True)
def test_a_score_is_the_same_to_the_bit_in_any_company_and_with_any_threads(source, dtype, same_bfloat16_rows):
    pair = some_text(30, 0)
    companions = [some_text(words, seed) for seed, words in enumerate([1, 70, 9, 250, 33, 2, 120, 15, 48, 5] * 5)]
    before = torch.get_num_threads()
    scores = set()
    try:
        for count in (1, 2):
            model = rerank_core.load(source, device="cpu", dtype=dtype, threads=count)
            for company in (0, 1, 2, 11, 12, 50):
                documents = [pair, *companions[:company]]
                scores.add(model.score(QUERY, documents, ScoreOptions(raw=True)).values[0])
                scores.add(model.score(QUERY, documents[::-1], ScoreOptions(raw=True)).values[-1])
    finally:
        torch.set_num_threads(before)

    if dtype == "bfloat16" and not same_bfloat16_rows():
        assert max(scores) - min(scores) < TOLERANCE[dtype]
        pytest.skip("SKIPPED LOUDLY: this processor's bfloat16 products are not the same to the bit in any company")
    assert len(scores) == 1


# ---------------------------------------------------------------------------- products


SIZES = [(64, 96), (384, 1536), (1024, 1024), (1000, 1050), (4096, 1024)]
"""Inputs and outputs."""


def rows_with_other_bits(kind, inputs, outputs, *, bias) -> list[int]:
    """Returned or added, with one thread, as a worker has, and so many rows as a batch is filled up to."""
    draw = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(*size, generator=draw) for size in ((outputs, inputs), (1024, inputs)))
    product = kind(weight, torch.randn(outputs, generator=draw) if bias else None)

    def added(x) -> torch.Tensor:
        total = torch.full((len(x), outputs), 0.1)
        product.add_to(total, x)
        return total

    def differing() -> list[int]:
        whole = product(x), added(x)
        counts = [filled(rows) for rows in (1, 33, 49, 100, 257, 500, 1000)]
        return [
            rows
            for rows in counts
            for found, golden in zip((product(x[-rows:]), added(x[-rows:])), whole, strict=True)
            if not torch.equal(found, golden[-rows:])
        ]

    (found,) = WorkerPool(1, warm_up=lambda: None).map(lambda _: differing(), [None])
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [FloatLinear, MklLinear, OneDnnLinear])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_a_row_of_a_float32_product_has_the_same_bits_among_any_rows(kind, inputs, outputs, bias):
    assert rows_with_other_bits(kind, inputs, outputs, bias=bias) == []


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_few_rows_are_multiplied_as_many_are_where_the_other_way_gives_other_bits(inputs, outputs, monkeypatch):
    monkeypatch.setattr(mkl_linear, "INPUTS_STEP", 100)
    monkeypatch.setattr(mkl_linear, "_HAS_BITS_OF_MANY", {})

    assert rows_with_other_bits(MklLinear, inputs, outputs, bias=True) == []


def test_a_product_by_mkl_is_the_same_written_and_returned():
    weight, x = torch.randn(1030, 1024), torch.randn(32, 1024)
    product, out = MklLinear(weight, None), torch.full((32, 1100), 7.0)

    product(x, out[:, :1030])

    assert torch.equal(out[:, :1030], product(x))
    assert (out[:, 1030:] == 7).all()


@pytest.mark.parametrize(
    ("has_avx512", "name", "product"),
    [
        (True, "AMD EPYC", OneDnnLinear),
        (False, "AMD EPYC", MklLinear),
        (True, "Intel Xeon", MklLinear),
    ],
)
def test_onednn_multiplies_where_mkl_does_not_use_avx512(has_avx512, name, product, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": has_avx512, "cpu_name": name})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)

    assert type(dtypes.numbers("cpu", "float32")[1](torch.zeros(64, 64), None)) is product
    assert dtypes.float_product("cuda:0") is DeviceLinear


def test_without_mkl_few_rows_are_multiplied_as_many_are(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "neoverse"})
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)

    assert dtypes.numbers("cpu", "float32")[1] is FloatLinear


@pytest.fixture
def weight() -> torch.Tensor:
    """Rows of different sizes."""
    sizes = torch.logspace(-2, 1, 96)[:, None]
    return torch.randn(96, 64, generator=torch.Generator().manual_seed(0)) * sizes


@pytest.fixture
def x() -> torch.Tensor:
    """Rows of different sizes, none centred, with two columns that dwarf all others."""
    x = torch.randn(300, 64, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 300)[:, None]
    x += x.abs().amax(1, keepdim=True) / 2
    x[:, [5, 40]] *= 50
    return x


@pytest.mark.parametrize("kind", [FloatLinear, MklLinear, OneDnnLinear, *FLOAT16_WEIGHTS, BFloat16Linear])
def test_a_product_is_the_same_returned_written_or_added(kind, weight, x):
    bias = torch.linspace(-1, 1, 96)
    linear = kind(weight, bias, x.mean(0)) if kind in FLOAT16_WEIGHTS else kind(weight, bias)
    golden = linear(x)
    total = torch.ones(300, 96)

    linear.add_to(total, x)

    assert torch.equal(linear(x, torch.empty(300, 96)), golden)
    assert torch.allclose(total, golden + 1, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("of_file", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 12_000)])
def test_weights_of_16_bits_are_widened_to_the_same_numbers(of_file, bias):
    """In more than one block; and a row has the same bits among other rows."""
    draw = torch.Generator().manual_seed(0)
    weight, x = torch.randn(12_000, 96, generator=draw).to(of_file), torch.randn(300, 96, generator=draw)
    linear = WideningLinear(weight, bias)
    golden = FloatLinear(weight.float(), bias)(x)
    total = torch.ones(300, 12_000)

    linear.add_to(total, x)

    assert torch.allclose(linear(x), golden, rtol=1e-5, atol=1e-5)
    assert torch.allclose(total, golden + 1, rtol=1e-5, atol=1e-5)
    assert torch.equal(linear(x, torch.empty(300, 12_000)), linear(x))
    assert torch.equal(linear(x[100:140]), linear(x)[100:140])


@pytest.mark.parametrize("kind", FLOAT16_WEIGHTS)
def test_the_mean_row_has_the_product_that_it_has_without_rounding(kind, weight, x):
    bias, mean = torch.linspace(-1, 1, 96), x.mean(0)
    rows = mean.expand(32, -1)
    exact = FloatLinear(weight, bias)(rows)

    corrected = (kind(weight, bias, mean)(rows) - exact).abs().max()
    plain = (kind(weight, bias, torch.zeros(64))(rows) - exact).abs().max()

    assert corrected < plain / 100


def test_both_products_with_float16_weights_round_the_same_weights(monkeypatch, tiny):
    skip_without("float16-weights")
    documents = [some_text(words, words) for words in (0, 1, 7, 30, 120)]
    built, scores = [], []
    for kind in FLOAT16_WEIGHTS:

        def build(*parts, kind=kind):
            built.append(kind)
            return kind(*parts)

        monkeypatch.setattr(float16, kind.__name__, build)
    for widens in (False, True):
        monkeypatch.setattr(cpu_features, "widens_float16", lambda widens=widens: widens)
        model = rerank_core.load(str(tiny("bert")), device="cpu", dtype="float16-weights")
        scores.append(model.score(QUERY, documents, ScoreOptions(raw=True)).values)

    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert built == sorted(built, key=FLOAT16_WEIGHTS.index)
    assert set(built) == set(FLOAT16_WEIGHTS)


def test_threads_that_widen_weights_at_once_do_not_meet_in_one_buffer():
    """Each has its own, in which its weights take turns."""
    x = torch.ones(32, 256)
    linears = [WidenedLinear(torch.full((512, 256), float(n)), torch.zeros(512), torch.zeros(256)) for n in (1, 2, 3)]
    golden = [linear(x) for linear in linears]

    def agree(_: int) -> bool:
        return all(torch.equal(linear(x), product) for linear, product in zip(linears, golden, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(agree, range(400)))


@pytest.mark.parametrize("levels", [256, 128])
def test_eight_bits_round_each_row_by_its_own_measure(levels, weight, x):
    """No product is further off than the halves of all its steps together."""
    if levels > cpu_features.int8_levels():
        pytest.skip("SKIPPED LOUDLY: this processor's 8-bit products overflow with 256 levels")
    bias, columns = torch.linspace(-1, 1, 96), torch.tensor([5, 40])
    linear = Int8Linear(weight, bias, columns, levels=levels)

    product = linear(x)

    inner, inner_weight = x.index_fill(1, columns, 0.0), weight.index_fill(1, columns, 0.0)
    step = (inner.amax(1) - inner.amin(1)) / (levels - 1)
    weight_step = inner_weight.abs().amax(1) / 127
    furthest = torch.outer(step, inner_weight.abs().sum(1) + 32 * weight_step) + torch.outer(
        inner.abs().sum(1), weight_step
    )
    golden = x.double() @ weight.double().t() + bias.double()
    rounding = 1e-5 * (x.abs() @ weight.abs().t() + 1)
    assert ((product - golden).abs() <= furthest / 2 + rounding).all()
    assert torch.equal(linear(x[100:140]), product[100:140])
    total = torch.ones(300, 96)
    linear.add_to(total, x)
    assert torch.equal(total, product + 1)


def test_without_its_outlier_columns_a_product_in_eight_bits_is_far_off(weight, x):
    """The reason for having them."""
    bias = torch.zeros(96)
    golden = x @ weight.t()

    def error(columns: list[int]) -> float:
        product = Int8Linear(weight, bias, torch.tensor(columns), levels=cpu_features.int8_levels())(x)
        return float(((product - golden).norm(dim=1) / golden.norm(dim=1)).mean())

    assert error([5, 40]) * 3 < error([1, 2])


def test_rows_of_nothing_but_zeros_have_the_bias_for_a_product(weight):
    bias = torch.linspace(-1, 1, 96)

    assert torch.equal(Int8Linear(weight, bias, torch.tensor([0]), levels=128)(torch.zeros(40, 64))[7], bias)


# ---------------------------------------------------------------------------- where it cannot


def test_float16_weights_are_float32_where_the_machine_cannot_and_the_log_says_so(tiny, monkeypatch, caplog):
    monkeypatch.setattr(cpu_features, "has_float16_weights", lambda: False)

    with caplog.at_level(logging.WARNING):
        model = rerank_core.load(str(tiny("bert")), device="cpu", dtype="float16-weights")

    assert model.info.dtype == "float32"
    assert [record.getMessage() for record in caplog.records] == [
        "float16-weights need an x86 processor with AVX2: computing in float32, with twice the memory"
    ]


@pytest.mark.parametrize("wanted", ["int8", "bfloat16"])
def test_a_processor_without_the_instructions_is_refused_with_the_way_out(tiny, monkeypatch, wanted):
    monkeypatch.setattr(cpu_features, f"has_{wanted}", lambda: False)

    with pytest.raises(InvalidRequest, match=rf"dtype='{wanted}' needs .* processor .*use"):
        rerank_core.load(str(tiny("bert")), device="cpu", dtype=wanted)


@pytest.mark.parametrize("wanted", ["int8", "float16-weights"])
def test_what_the_packed_engine_does_not_run_is_not_run_in_its_types(tiny, wanted):
    with pytest.raises(CheckpointError, match=rf"no engine runs .* in {wanted}: .*not albert; .*use float32"):
        rerank_core.load(str(tiny("albert")), device="cpu", dtype=wanted)
