"""Whole networks of which kernels compute what they can, as of large ones: they score as on transformers.

The sizes are such that kernels fit; without AVX-512 or numba the same networks are computed by torch.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import rerank_core
from rerank_core import ScoreOptions
from rerank_core.engines import workers
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.kernels import instructions
from rerank_core.testing.checkpoints import WORDS, write_tiny_checkpoint
from rerank_core.testing.language_models import write_tiny_language_model

ENCODER = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
LARGE_EPSILON = {"rms_norm_eps": 0.1}
SLIDING, FULL = "sliding_attention", "full_attention"

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert": ("modernbert", {"local_attention": 16}),
    "modernbert with SiLU": ("modernbert", {"hidden_activation": "silu"}),
    "modernbert with ReLU": ("modernbert", {"hidden_activation": "relu"}),
    "xlm-roberta": ("xlm-roberta", {}),
    "mpnet": ("mpnet", {}),
    "deberta-v2": ("deberta-v2", {}),
}
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {"head_dim": 32, **LARGE_EPSILON}),
    "qwen3 with windows": (
        "qwen3",
        {
            "head_dim": 32,
            "layer_types": [SLIDING, FULL],
            "use_sliding_window": True,
            "sliding_window": 17,
        },
    ),
    "qwen3 that sees both sides": ("qwen3", {"head_dim": 32, "is_causal": False}),
    "qwen2": ("qwen2", {"num_attention_heads": 2, "num_key_value_heads": 1, **LARGE_EPSILON}),
    "llama with GELU": ("llama", {"head_dim": 32, "hidden_act": "gelu"}),
    "gemma": ("gemma", {"head_dim": 32, **LARGE_EPSILON}),
}
RAW = ScoreOptions(raw=True)
QUERY = "where does the giant panda live"


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network count as a large one, and short work be divided."""
    monkeypatch.setattr(dtypes, "_LEAST_NUMBERS", 1)
    monkeypatch.setattr(workers, "_LEAST_PIECE", 1e-9)


def documents() -> list[str]:
    return [" ".join(random.Random(words).choices(WORDS, k=words)) for words in (1, 5, 17, 40, 90)]


def encoder(directory: Path, name: str) -> Path:
    family, fields = ENCODERS[name]
    return write_tiny_checkpoint(directory, family, config=ENCODER | fields)


def decoder(directory: Path, name: str) -> Path:
    family, fields = DECODERS[name]
    return write_tiny_language_model(directory, family, head="sequence-classification", labels=1, config=fields)


def scores(directory: Path, engine: str = "packed", dtype: str = "float32", **options: Any) -> list[float]:
    model = rerank_core.load(str(directory), device="cpu", engine=engine, dtype=dtype, **options)
    together = list(model.score(QUERY, documents(), RAW).values)
    if engine == "packed":
        assert [model.score(QUERY, [document], RAW).values[0] for document in documents()] == together
    return together


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder(name, tmp_path):
    directory = encoder(tmp_path, name)

    assert scores(directory) == pytest.approx(scores(directory, "reference"), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder(name, tmp_path):
    directory = decoder(tmp_path, name)
    golden = scores(directory, "reference", recipe="none")

    assert scores(directory, recipe="none") == pytest.approx(golden, rel=2e-5, abs=2e-5)


@pytest.mark.skipif(
    instructions.found() is None, reason="SKIPPED LOUDLY: this processor has no instructions for kernels, or no numba"
)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_fewer_bits(name, dtype, tmp_path):
    is_encoder = name in ENCODERS
    directory = encoder(tmp_path, name) if is_encoder else decoder(tmp_path, name)
    options = {} if is_encoder else {"recipe": "none"}
    golden = scores(directory, **options)

    found = scores(directory, dtype=dtype, **options)

    spread = max(golden) - min(golden)
    assert found != golden
    assert max(abs(x - y) for x, y in zip(found, golden, strict=True)) < 0.25 * spread + 0.02
