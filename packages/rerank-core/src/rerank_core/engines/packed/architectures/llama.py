"""Llama, causal; and bidirectional, as NVIDIA's rerankers use it, whose own code is never needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_core.engines.packed.architectures.decoder import DecoderArchitecture, DecoderPooling
from rerank_core.engines.target import Unsupported

_BIASES = {"attention_in": "attention_bias", "attention_out": "attention_bias", "feed_forward": "mlp_bias"}
_POOLINGS: dict[str, DecoderPooling] = {"avg": "mean", "cls": "cls", "last": "last"}


def _pooling(config: Mapping[str, Any]) -> DecoderPooling:
    found = _POOLINGS.get(str(config.get("pooling", "avg")))
    if found is None:
        raise Unsupported(f"pooling is {config['pooling']!r:.100}: it knows {', '.join(_POOLINGS)}")
    return found


LLAMA = DecoderArchitecture(name="Llama", examples=(), biases=_BIASES)
LLAMA_BIDIRECTIONAL = DecoderArchitecture(
    name="Llama, bidirectional",
    examples=("nvidia/llama-nemotron-rerank-1b-v2",),
    code=frozenset({"LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification"}),
    biases=_BIASES,
    divides_by_temperature=True,
    pooling=_pooling,
)
