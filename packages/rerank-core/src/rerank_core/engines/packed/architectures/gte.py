"""mGTE (``model_type`` new): BERT with rotary positions and a gated feed-forward. Its own code is never needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.engines.packed.architectures.base import (
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    LayerAttention,
    ParameterNames,
)
from rerank_core.engines.target import Unsupported


def _attention(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    """Read theta and its scaling, and refuse the variants that no checkpoint is known to have."""
    for field, known in (("layer_norm_type", "layer_norm"), ("pack_qkv", True), ("logn_attention_scale", False)):
        if config.get(field, known) != known:
            raise Unsupported(f"{field} is {config[field]!r:.100}: it knows {known}")
    if config.get("position_embedding_type") != "rope":
        raise Unsupported(f"it knows rope positions, not {config.get('position_embedding_type')!r:.100}")
    stretch = 1.0
    if (scaling := config.get("rope_scaling")) is not None:
        if scaling.get("type") != "ntk" or scaling.get("mixed_b") is not None:
            raise Unsupported(f"rope_scaling is {scaling!r:.100}: it knows ntk, without mixed_b")
        stretch = max(float(scaling["factor"]), 1.0)
    return [LayerAttention(theta=float(config.get("rope_theta", 10_000.0)), stretch=stretch)] * layers


GTE = Architecture(
    "mGTE",
    ("Alibaba-NLP/gte-multilingual-reranker-base",),
    ParameterNames(
        "new.",
        positions=None,
        qkv="encoder.layer.{}.attention.qkv_proj",
        attention_out="encoder.layer.{}.attention.o_proj",
        attention_norm="encoder.layer.{}.attn_ln",
        up="encoder.layer.{}.mlp.up_gate_proj",
        down="encoder.layer.{}.mlp.down_proj",
        layer_norm="encoder.layer.{}.mlp_ln",
    ),
    ClassifierNames("new.pooler.dense", "tanh", "classifier"),
    code=frozenset({"NewModel", "NewForSequenceClassification"}),
    gate="second",
    positions=("rope",),
    biases={"up": False},
    attention=_attention,
    ignored=(*POSITION_IDS, *POOLER),
)
