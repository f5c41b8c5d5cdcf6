"""ModernBERT: rotary positions, local attention in most layers, gated feed-forward, norms first, no biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.engines.packed.architectures.base import (
    Architecture,
    ClassifierNames,
    ClassifierPooling,
    LayerAttention,
    ParameterNames,
)
from rerank_core.engines.target import Unsupported

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_THETA = {_GLOBAL: ("global_rope_theta", 160_000.0), _LOCAL: ("local_rope_theta", 10_000.0)}


def _attention(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    """Read which layers are local, how far they see, and each kind's theta."""
    if config.get("rope_scaling") is not None:
        raise Unsupported("config.json has a rope_scaling, which it does not compute")
    window = config.get("local_attention", 128)
    if type(window) is not int or window < 0:
        raise Unsupported(f"local_attention is {window!r:.100}: it needs a number of tokens")
    kinds = {
        _GLOBAL: LayerAttention(reach=None, theta=_theta(config, _GLOBAL)),
        _LOCAL: LayerAttention(reach=window // 2, theta=_theta(config, _LOCAL)),
    }
    types = config.get("layer_types")
    if types is None:
        every = int(config.get("global_attn_every_n_layers", 3))
        types = [_LOCAL if layer % every else _GLOBAL for layer in range(layers)]
    if len(types) != layers or not set(types) <= set(kinds):
        raise Unsupported(f"layer_types is {types!r:.100}: it knows {_GLOBAL} and {_LOCAL}, one a layer")
    return [kinds[kind] for kind in types]


def _theta(config: Mapping[str, Any], kind: str) -> float:
    """Read the base of one kind's rotary positions, as transformers writes it today or did before."""
    of_kinds = config.get("rope_parameters") or {}
    if not set(of_kinds) <= set(_THETA):
        raise Unsupported(f"rope_parameters has {', '.join(of_kinds)}: it knows those of {_GLOBAL} and {_LOCAL}")
    field, default = _THETA[kind]
    parameters = {"rope_theta": config.get(field, default), **(of_kinds.get(kind) or {})}
    rope_type = parameters.pop("rope_type", parameters.pop("type", "default"))
    theta = parameters.pop("rope_theta")
    if rope_type != "default" or parameters:
        raise Unsupported(f"rope_parameters of {kind} ask for {rope_type} {', '.join(parameters)}: it knows default")
    return float(theta)


def _classifier_pooling(config: Mapping[str, Any]) -> ClassifierPooling:
    match config.get("classifier_pooling", "cls"):
        case "cls":
            return "cls"
        case "mean":
            return "mean"
        case other:
            raise Unsupported(f"classifier_pooling is {other!r:.100}: it knows cls and mean")


MODERNBERT = Architecture(
    "ModernBERT",
    ("Alibaba-NLP/gte-reranker-modernbert-base", "cross-encoder/ettin-reranker-32m-v1"),
    ParameterNames(
        "model.",
        tokens="embeddings.tok_embeddings",
        positions=None,
        types=None,
        norm="embeddings.norm",
        qkv="layers.{}.attn.Wqkv",
        attention_out="layers.{}.attn.Wo",
        attention_norm="layers.{}.attn_norm",
        up="layers.{}.mlp.Wi",
        down="layers.{}.mlp.Wo",
        layer_norm="layers.{}.mlp_norm",
        final_norm="final_norm",
    ),
    ClassifierNames("head.dense", "gelu", "classifier", norm="head.norm", activation_field="classifier_activation"),
    sizes={
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "activation": "hidden_activation",
    },
    epsilon=("norm_eps", 1e-5),
    norm_first=True,
    gate="first",
    positions=("absolute", "sans_pos", "rope"),  # what configurations say, and nothing has ever read
    biases={
        **dict.fromkeys(("norm", "attention_norm", "layer_norm", "final_norm", "classifier_norm"), "norm_bias"),
        **dict.fromkeys(("qkv", "attention_out"), "attention_bias"),
        **dict.fromkeys(("up", "down"), "mlp_bias"),
        "classifier_dense": "classifier_bias",
    },
    attention=_attention,
    classifier_pooling=_classifier_pooling,
)
