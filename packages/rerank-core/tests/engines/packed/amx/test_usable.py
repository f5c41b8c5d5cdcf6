"""When tiles are used."""

import importlib.util
import logging

import pytest
import rerank_core
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.packed import amx, dtypes
from rerank_core.engines.packed.ops.linear import BFloat16Linear, FloatLinear
from rerank_core.engines.packed.quantization import int8


@pytest.fixture
def machine(monkeypatch):
    """A processor with AMX, on a system that allows it, with numba: each can be taken away."""

    def change(*, has=True, may=True, numba=True, compiles=True, for_this=True, known=True) -> None:
        amx.is_usable.cache_clear()
        monkeypatch.setattr(cpu_features, "has_amx", lambda: has)
        monkeypatch.setattr(cpu_features, "may_use_amx", lambda: may)
        spec = importlib.util.find_spec("numba")
        monkeypatch.setattr(amx, "find_spec", lambda name: spec if numba else None)
        if numba:
            features = dict.fromkeys(["amx-tile", "amx-bf16", "amx-int8", "avx512bf16"], True)
            monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features if known else {})
            monkeypatch.setattr("numba.config.DISABLE_JIT", int(not compiles))
            monkeypatch.setattr("numba.config.CPU_NAME", None if for_this else "generic")

    yield change
    monkeypatch.undo()
    amx.is_usable.cache_clear()


def test_tiles_are_used_where_the_processor_the_system_and_numba_allow_it(machine):
    pytest.importorskip("numba")
    machine()

    assert amx.is_usable()


@pytest.mark.parametrize("missing", ["has", "may", "numba", "compiles", "for_this", "known"])
def test_they_are_not_where_one_of_these_is_missing(missing, machine):
    pytest.importorskip("numba")
    machine(**{missing: False})

    assert not amx.is_usable()
    assert dtypes.numbers("cpu", "bfloat16")[1] is BFloat16Linear
    assert issubclass(dtypes.last_product("cpu", "int8"), FloatLinear)
    assert int8.product() is int8.Int8Linear


def test_the_log_says_once_what_numba_would_bring(machine, caplog):
    machine(numba=False)

    with caplog.at_level(logging.INFO, "rerank_core"):
        assert [amx.is_usable(), amx.is_usable()] == [False, False]

    assert [record.message for record in caplog.records] == [
        "this processor has AMX: with rerank-core[amx] bfloat16 and int8 are faster here"
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16-weights"])
def test_exact_products_are_never_made_of_tiles(dtype, machine):
    machine()

    assert issubclass(dtypes.numbers("cpu", dtype)[1], FloatLinear)
    assert issubclass(dtypes.last_product("cpu", dtype), FloatLinear)


def test_a_gpu_has_none(machine):
    machine()

    assert not dtypes.has_tiles("cuda:0", "bfloat16")


@pytest.mark.skipif(not amx.is_usable(), reason="SKIPPED LOUDLY: this processor has no AMX, or numba is missing")
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_with_tiles_and_without_scores_are_near_each_other(dtype, tiny, machine):
    documents = ["the giant panda lives in China", "bamboo " * 60]
    with_tiles = rerank_core.load(str(tiny("bert")), dtype=dtype).score("panda", documents).values
    machine(may=False)

    without = rerank_core.load(str(tiny("bert")), dtype=dtype).score("panda", documents).values

    assert without != with_tiles
    assert without == pytest.approx(with_tiles, abs=0.02)
