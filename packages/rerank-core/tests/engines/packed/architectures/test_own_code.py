"""Families whose checkpoints bring code of their own, which is never run: mGTE, and XLM-RoBERTa under other names."""

import json
import math
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import WORDS, edit_json
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

QUERY = "where does the giant panda live"


def some_text(words: int) -> str:
    return " ".join(random.Random(words).choices(WORDS, k=words))


DOCUMENTS = [some_text(words) for words in (0, 1, 3, 20, 60, 117, 118, 119, 300)]


def load(directory: Path, engine: str = "packed") -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", engine=engine)


def is_independent_of_company(model: LocalModel) -> bool:
    together = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values
    backwards = model.score(QUERY, DOCUMENTS[::-1], ScoreOptions(raw=True)).values
    alone = tuple(model.score(QUERY, [document], ScoreOptions(raw=True)).values[0] for document in DOCUMENTS)
    return together == alone == backwards[::-1]


# ---------------------------------------------------------------------------- XLM-RoBERTa (flash)

_RENAMED = [
    (r"embeddings\.LayerNorm", "emb_ln"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense", r"encoder.layers.\1.mixer.out_proj"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm", r"encoder.layers.\1.norm1"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense", r"encoder.layers.\1.mlp.fc1"),
    (r"encoder\.layer\.(\d+)\.output\.dense", r"encoder.layers.\1.mlp.fc2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm", r"encoder.layers.\1.norm2"),
]


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """An XLM-RoBERTa's parameters as jinaai's code calls them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attention.self." in name:
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    for kind in ("weight", "bias"):
        for layer in range(2):
            parts = [
                tensors[f"roberta.encoder.layer.{layer}.attention.self.{part}.{kind}"]
                for part in ("query", "key", "value")
            ]
            found[f"roberta.encoder.layers.{layer}.mixer.Wqkv.{kind}"] = torch.cat(parts)
    return found


@pytest.fixture
def flash(tiny, tmp_path) -> Path:
    directory = Path(shutil.copytree(tiny("xlm-roberta"), tmp_path / "flash"))
    path = directory / "model.safetensors"
    save_file(renamed(load_file(path)), path, metadata={"format": "pt"})
    edit_json(
        directory / "config.json",
        auto_map={"AutoModelForSequenceClassification": "modeling_xlm_roberta.XLMRobertaForSequenceClassification"},
        use_flash_attn=True,
        position_embedding_type="absolute",
    )
    return directory


def test_the_same_network_under_other_names_gives_the_same_scores(flash, tiny):
    golden = load(tiny("xlm-roberta"), "reference").score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    model = load(flash, "auto")
    ours = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert (model.info.engine, model.info.engine_reason) == ("packed", "the fastest that runs xlm-roberta")
    assert ours == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert is_independent_of_company(model)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"auto_map": {"AutoModelForSequenceClassification": "other.OtherModel"}}, "code of its own"),
        ({"position_embedding_type": "rotary"}, "absolute positions, not rotary"),
    ],
)
def test_other_code_and_other_positions_are_refused(flash, fields, reason):
    edit_json(flash / "config.json", **fields)

    with pytest.raises(CheckpointError, match=reason):
        load(flash)


def test_adapters_beside_the_weights_are_refused_by_name(flash):
    path = flash / "model.safetensors"
    save_file(load_file(path) | {"roberta.encoder.layers.0.mixer.Wqkv.lora_A": torch.zeros(1)}, path)

    with pytest.raises(CheckpointError, match=r"parameters that it does not know: .*lora_A"):
        load(flash)


# ---------------------------------------------------------------------------- mGTE

GTE: dict[str, Any] = {
    "model_type": "new",
    "architectures": ["NewForSequenceClassification"],
    "auto_map": {"AutoModelForSequenceClassification": "Alibaba-NLP/new-impl--modeling.NewForSequenceClassification"},
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "layer_norm_type": "layer_norm",
    "position_embedding_type": "rope",
    "rope_theta": 50.0,
    "rope_scaling": {"type": "ntk", "factor": 4.0},
    "pack_qkv": True,
    "logn_attention_scale": False,
    "max_position_embeddings": 128,
    "type_vocab_size": 1,
    "id2label": {"0": "LABEL_0"},
    "pad_token_id": 1,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "scaled": {},
    "not scaled, no types": {"rope_scaling": None, "type_vocab_size": 0, "rope_theta": 9000.0},
    "wide heads": {"hidden_size": 40, "num_attention_heads": 2, "num_hidden_layers": 1, "hidden_act": "silu"},
}


def random_parameters(config: dict[str, Any]) -> dict[str, Tensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"new.embeddings.word_embeddings.weight": (config["vocab_size"], hidden)}
    if config["type_vocab_size"]:
        shapes["new.embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], hidden)
    products = {"new.pooler.dense": (hidden, hidden), "classifier": (1, hidden)}
    norms = ["new.embeddings.LayerNorm"]
    for layer in (f"new.encoder.layer.{number}." for number in range(config["num_hidden_layers"])):
        products[layer + "attention.qkv_proj"] = (3 * hidden, hidden)
        products[layer + "attention.o_proj"] = (hidden, hidden)
        products[layer + "mlp.down_proj"] = (hidden, inner)
        shapes[layer + "mlp.up_gate_proj.weight"] = (2 * inner, hidden)
        norms += [layer + "attn_ln", layer + "mlp_ln"]
    for name, shape in products.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    draw, around_one = torch.Generator().manual_seed(0), ("LayerNorm.weight", "ln.weight")
    return {
        name: torch.randn(shape, generator=draw) * 0.25 + (1.0 if name.endswith(around_one) else 0.0)
        for name, shape in shapes.items()
    }


def golden_logit(config: dict[str, Any], weights: dict[str, Tensor], token_ids: list[int]) -> float:
    """mGTE from its description, in plain torch: rotations as products of complex numbers, no view shared with ours."""
    heads, width = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    activate = {"gelu": functional.gelu, "silu": functional.silu}[config["hidden_act"]]

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    stretch = (config["rope_scaling"] or {}).get("factor", 1.0)
    theta = config["rope_theta"] * stretch
    frequencies = torch.tensor([theta ** (-2 * k / width) / stretch ** (2 / width) for k in range(width // 2)])
    angles = torch.arange(len(token_ids))[:, None] * frequencies
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]

    def rotated(x: Tensor) -> Tensor:
        turned = torch.complex(x[..., : width // 2], x[..., width // 2 :]) * turns
        return torch.cat([turned.real, turned.imag], -1)

    x = weights["new.embeddings.word_embeddings.weight"][token_ids]
    if config["type_vocab_size"]:
        x = x + weights["new.embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "new.embeddings.LayerNorm")
    for layer in (f"new.encoder.layer.{number}." for number in range(config["num_hidden_layers"])):
        query, key, value = (
            part.reshape(-1, heads, width) for part in linear(x, layer + "attention.qkv_proj").chunk(3, -1)
        )
        scores = torch.einsum("qhw,khw->hqk", rotated(query), rotated(key)) / math.sqrt(width)
        context = torch.einsum("hqk,khw->qhw", scores.softmax(-1), value).reshape(x.shape)
        x = norm(x + linear(context, layer + "attention.o_proj"), layer + "attn_ln")
        up, gate = linear(x, layer + "mlp.up_gate_proj").chunk(2, -1)
        x = norm(x + linear(up * activate(gate), layer + "mlp.down_proj"), layer + "mlp_ln")
    return linear(torch.tanh(linear(x[0], "new.pooler.dense")), "classifier").item()


def write_gte(directory: Path, tokenizer: Path, **fields: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, directory / name)
    rows = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    config = GTE | {"vocab_size": rows} | fields
    weights = random_parameters(config)
    edit_json(directory / "config.json", **config)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return config, weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_mgte_gives_the_logits_of_its_description(tiny, tmp_path, variant):
    config, weights = write_gte(tmp_path / "gte", tiny("xlm-roberta"), **VARIANTS[variant])
    model = load(tmp_path / "gte", "auto")
    encodings = model.encode(QUERY, DOCUMENTS, ScoreOptions())
    token_ids = [torch.frombuffer(bytearray(e.sequences[0].token_ids), dtype=torch.int32) for e in encodings]
    golden = [golden_logit(config, weights, ids.tolist()) for ids in token_ids]

    ours = model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert model.info.engine == "packed"
    assert max(map(len, token_ids)) == model.info.max_length == 128
    assert ours == pytest.approx(golden, abs=1e-5, rel=1e-5)
    assert len(set(ours)) >= len(DOCUMENTS) - 2, "a network that always says the same proves nothing"
    assert is_independent_of_company(model)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 1.0}}, "without mixed_b"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "it knows ntk"),
        ({"logn_attention_scale": True}, "logn_attention_scale is True"),
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type is 'rms_norm'"),
        ({"pack_qkv": False}, "pack_qkv is False"),
        ({"position_embedding_type": "absolute"}, "rope positions, not absolute"),
        ({"auto_map": {"AutoModelForSequenceClassification": "mine.Network"}}, "code of its own"),
    ],
)
def test_an_mgte_that_is_not_computed_is_refused_with_the_reason(tiny, tmp_path, fields, reason):
    write_gte(tmp_path / "gte", tiny("xlm-roberta"))
    edit_json(tmp_path / "gte" / "config.json", **fields)

    with pytest.raises(CheckpointError, match=reason):
        load(tmp_path / "gte")
