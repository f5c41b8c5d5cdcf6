"""DeBERTa-v2 and v3: disentangled attention over relative positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.engines.packed.architectures.base import (
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ConvolutionSize,
    Disentangled,
    LayerAttention,
    ParameterNames,
)
from rerank_core.engines.target import Unsupported


def _attention(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    """Read the terms of the attention, and how distances share rows of the table."""
    if not config.get("relative_attention"):
        raise Unsupported("relative_attention is not set: it knows relative positions")
    width = config["hidden_size"] // config["num_attention_heads"]
    if config.get("attention_head_size", width) != width:
        raise Unsupported(
            f"attention_head_size is {config['attention_head_size']!r:.100}: it knows heads that divide the hidden size"
        )
    said = config.get("pos_att_type") or []
    terms = {term.strip() for term in (said.lower().split("|") if isinstance(said, str) else said)}
    if not terms or not terms <= {"c2p", "p2c"}:
        raise Unsupported(f"pos_att_type is {said!r:.100}: it knows c2p and p2c")
    norms = {norm.strip() for norm in str(config.get("norm_rel_ebd", "none")).lower().split("|")}
    if not norms <= {"none", "layer_norm"}:
        raise Unsupported(f"norm_rel_ebd is {config['norm_rel_ebd']!r:.100}: it knows layer_norm")
    furthest = int(config.get("max_relative_positions", -1))
    described = Disentangled(
        buckets=max(int(config.get("position_buckets", -1)), 0),
        furthest=furthest if furthest >= 1 else int(config["max_position_embeddings"]),
        has_keys="c2p" in terms,
        has_queries="p2c" in terms,
        is_shared=bool(config.get("share_att_key", False)),
        is_normalized="layer_norm" in norms,
    )
    if described.buckets and not 2 <= described.buckets < 2 * (described.furthest - 1):
        raise Unsupported(f"position_buckets is {described.buckets}, of {described.furthest} positions")
    return [LayerAttention(disentangled=described)] * layers


def _convolution(config: Mapping[str, Any]) -> ConvolutionSize | None:
    """Read the convolution beside the first layer, which the two largest of version 2 have."""
    kernel = config.get("conv_kernel_size", 0)
    if kernel == 0:
        return None
    if type(kernel) is not int or kernel % 2 == 0:
        raise Unsupported(f"conv_kernel_size is {kernel!r:.100}: it knows an odd number of tokens")
    if config["num_hidden_layers"] < 2:
        raise Unsupported("conv_kernel_size is set: it knows a convolution beside the first of several layers")
    if config.get("conv_groups", 1) != 1:
        raise Unsupported(f"conv_groups is {config['conv_groups']!r:.100}: it knows 1")
    return ConvolutionSize(kernel, config.get("conv_act", "tanh"))


DEBERTA = Architecture(
    "DeBERTa-v2",
    ("mixedbread-ai/mxbai-rerank-base-v1",),
    ParameterNames(
        "deberta.",
        query="encoder.layer.{}.attention.self.query_proj",
        key="encoder.layer.{}.attention.self.key_proj",
        value="encoder.layer.{}.attention.self.value_proj",
        relative="encoder.rel_embeddings",
        relative_norm="encoder.LayerNorm",
        relative_query="encoder.layer.{}.attention.self.pos_query_proj",
        relative_key="encoder.layer.{}.attention.self.pos_key_proj",
        convolution="encoder.conv.conv",
        convolution_norm="encoder.conv.LayerNorm",
    ),
    ClassifierNames("pooler.dense", "gelu", "classifier", activation_field="pooler_hidden_act"),
    epsilon=("layer_norm_eps", 1e-7),
    positions_field="position_biased_input",
    attention=_attention,
    convolution=_convolution,
    ignored=POSITION_IDS,
)
