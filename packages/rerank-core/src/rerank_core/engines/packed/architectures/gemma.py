"""Gemma 1: embeddings times the root of the hidden size, norms with weights around zero, a gate of tanh-GELU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_core.engines.packed.architectures.decoder import DecoderArchitecture
from rerank_core.engines.target import Unsupported

_GELU = "gelu_pytorch_tanh"


def _activation(config: Mapping[str, Any]) -> str:
    """Read the activation. The first checkpoints write gelu, and mean its approximation by tanh."""
    names = {config[field] for field in ("hidden_act", "hidden_activation") if config.get(field) is not None}
    found = {_GELU if name == "gelu" else str(name) for name in names} or {_GELU}
    if len(found) > 1:
        raise Unsupported(f"hidden_act and hidden_activation are {' and '.join(sorted(found))}: it needs one")
    return found.pop()


GEMMA = DecoderArchitecture(
    name="Gemma",
    examples=("BAAI/bge-reranker-v2-gemma",),
    biases=dict.fromkeys(("attention_in", "attention_out"), "attention_bias"),
    head_width=256,
    norm_offset=1.0,
    scales_embeddings=True,
    ties_embeddings=True,
    activation=_activation,
)
