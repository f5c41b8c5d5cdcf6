"""MPNet: a bias for the distance of two tokens, which all layers share; no token types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.engines.packed.architectures.base import (
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    DistanceBias,
    LayerAttention,
    ParameterNames,
)
from rerank_core.engines.target import Unsupported

_ROWS = 32  # transformers computes with so many, whatever the configuration says


def _attention(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    rows = config.get("relative_attention_num_buckets", _ROWS)
    if rows != _ROWS:
        raise Unsupported(f"relative_attention_num_buckets is {rows!r:.100}: it knows {_ROWS}")
    return [LayerAttention(bias=DistanceBias(rows=_ROWS, furthest=128))] * layers


MPNET = Architecture(
    "MPNet",
    ("sentence-transformers/all-mpnet-base-v2",),
    ParameterNames(
        "mpnet.",
        types=None,
        query="encoder.layer.{}.attention.attn.q",
        key="encoder.layer.{}.attention.attn.k",
        value="encoder.layer.{}.attention.attn.v",
        attention_out="encoder.layer.{}.attention.attn.o",
        attention_norm="encoder.layer.{}.attention.LayerNorm",
        relative="encoder.relative_attention_bias",
    ),
    ClassifierNames("classifier.dense", "tanh", "classifier.out_proj"),
    offset_positions=True,
    padding=1,  # the network's own, whatever the configuration says
    attention=_attention,
    ignored=(*POSITION_IDS, *POOLER),
)
