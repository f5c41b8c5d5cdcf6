"""Tiny random networks of every family that the packed engine runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint
from rerank_core.testing.language_models import write_tiny_language_model
from safetensors.torch import save_file

VARIANTS = ("bert-relative", "deberta-v2-convolution")
MAX_LENGTH = 128
QUERY = "where does the giant panda live"
DOCUMENTS = ("bamboo", "a giant panda lives in china", "paris is the capital of france", "", "panda eats " * 40)

_GTE: dict[str, Any] = {
    "model_type": "new",
    "architectures": ["NewForSequenceClassification"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "layer_norm_type": "layer_norm",
    "position_embedding_type": "rope",
    "rope_theta": 10_000.0,
    "rope_scaling": None,
    "pack_qkv": True,
    "logn_attention_scale": False,
    "max_position_embeddings": MAX_LENGTH,
    "type_vocab_size": 1,
    "id2label": {"0": "LABEL_0"},
    "pad_token_id": 1,
}


def write_encoder(directory: Path, *, name: str) -> None:
    """Write a cross-encoder of a ``model_type``, or of a variant."""
    if name != "new":
        write_tiny_checkpoint(directory, name)
        return
    write_tiny_checkpoint(directory, "xlm-roberta")  # for its tokenizer
    rows = _rows(directory)
    (directory / "config.json").unlink()
    edit_json(directory / "config.json", **_GTE, vocab_size=rows)
    save_file(_gte_parameters(rows), directory / "model.safetensors", metadata={"format": "pt"})


def write_decoder(directory: Path, *, name: str) -> None:
    """Write a language model with a head of its own; one that sees both ways reads as Llama's with another name."""
    if name != "llama_bidirec":
        write_tiny_language_model(directory, name, head="sequence-classification")
        return
    write_tiny_language_model(directory, "llama", head="sequence-classification")
    edit_json(directory / "config.json", model_type=name, architectures=["LlamaBidirectionalForSequenceClassification"])


def _rows(directory: Path) -> int:
    import json

    rows: int = json.loads((directory / "config.json").read_text())["vocab_size"]
    return rows


def _gte_parameters(rows: int) -> dict[str, torch.Tensor]:
    """Draw the parameters of mGTE, which no library here has."""
    hidden, inner = _GTE["hidden_size"], _GTE["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "new.embeddings.word_embeddings.weight": (rows, hidden),
        "new.embeddings.token_type_embeddings.weight": (1, hidden),
    }
    products = {"new.pooler.dense": (hidden, hidden), "classifier": (1, hidden)}
    norms = ["new.embeddings.LayerNorm"]
    for layer in (f"new.encoder.layer.{number}." for number in range(_GTE["num_hidden_layers"])):
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
