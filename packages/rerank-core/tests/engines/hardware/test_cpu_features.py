"""Which features of the processor count, where the environment takes some away from the libraries."""

import pytest
import torch
from rerank_core.engines.hardware import cpu_features

EVERYTHING = dict.fromkeys(
    [
        *("avx512_f", "avx512_bw", "avx512_dq", "avx512_vl", "avx512_vnni", "avx512_bf16", "avx_vnni"),
        *("amx_tile", "amx_bf16", "amx_int8"),
    ],
    True,
)


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """An AMD processor with everything, and an environment that takes nothing away."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: EVERYTHING | {"cpu_name": "AMD EPYC"}, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)


def found() -> dict[str, object]:
    return {
        "amx": cpu_features.has_amx(),
        "dots": cpu_features.has_dot_products(),
        "bfloat16": cpu_features.has_bfloat16(),
        "onednn": cpu_features.multiplies_by_onednn(),
        "levels": cpu_features.int8_levels(),
    }


ALL = {"amx": True, "dots": True, "bfloat16": True, "onednn": True, "levels": 256}
NONE = {"amx": False, "dots": False, "bfloat16": False, "onednn": False, "levels": 128}


@pytest.fixture
def on_linux(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.usefixtures("on_linux")
@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        ("", ALL),
        ("DEFAULT", ALL),
        ("AVX10_1_512_AMX", ALL),
        ("AVX512_CORE_BF16", ALL | {"amx": False}),
        ("AVX512_CORE_VNNI", ALL | {"amx": False, "dots": False, "bfloat16": False}),
        ("AVX512_CORE", NONE | {"onednn": True}),
        ("AVX2_VNNI", NONE | {"levels": 256}),
        ("AVX2", NONE),
        ("avx2", NONE),
    ],
)
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_what_onednn_may_not_use_does_not_count(variable, limit, changes, monkeypatch):
    """With 256 levels, say, sums would overflow in the instructions that are left, and scores be wrong."""
    monkeypatch.setenv(variable, limit)

    assert found() == changes


@pytest.mark.usefixtures("on_linux")
@pytest.mark.parametrize("capability", ["AVX2", "DEFAULT"])
def test_what_torch_may_not_use_does_not_count(capability, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    assert found() == NONE | {"levels": 256}  # of avx_vnni, which oneDNN still uses


def test_the_instructions_are_those_that_torch_reports(monkeypatch):
    def has(**instructions: bool | str) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)

    has(avx512_vnni=True, avx512_bf16=False, amx_bf16=True)
    assert (cpu_features.int8_levels(), cpu_features.has_bfloat16()) == (256, True)
    has(avx512_f=True, cpu_name="Intel Xeon")
    assert cpu_features.widens_float16()
    has(avx512_f=True, cpu_name="AMD EPYC")
    assert not cpu_features.widens_float16()
    has(avx2=True, cpu_name="Intel Core")
    assert not cpu_features.widens_float16()
    has(avx2=True)
    assert (cpu_features.int8_levels(), cpu_features.has_bfloat16()) == (128, False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert (cpu_features.int8_levels(), cpu_features.has_bfloat16()) == (128, False)
