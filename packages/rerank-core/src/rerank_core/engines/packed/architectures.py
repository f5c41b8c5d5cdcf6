"""Which checkpoints the packed encoder runs, and how their parameters are called.

The checkpoint's configuration and its parameters' names and shapes decide. Whatever is only nearly known is refused
with the reason: another activation, another kind of position, a parameter more or less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.engines.packed.weights import Weights


class Unsupported(Exception):
    """The packed encoder does not run this checkpoint; the message says why."""


_gelu = torch.ops.aten.gelu_
_ACTIVATIONS: dict[str, Callable[[Tensor], object]] = {
    "gelu": _gelu,
    "gelu_new": partial(_gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(_gelu, approximate="tanh"),
    "relu": torch.relu_,
}


@dataclass(frozen=True, slots=True)
class Names:
    """What a family calls its parameters, without ``.weight`` and ``.bias``; layers have ``{}`` for their number."""

    prefix: str
    words: str = "embeddings.word_embeddings"
    positions: str = "embeddings.position_embeddings"
    types: str | None = "embeddings.token_type_embeddings"
    norm: str = "embeddings.LayerNorm"
    query: str = "encoder.layer.{}.attention.self.query"
    key: str = "encoder.layer.{}.attention.self.key"
    value: str = "encoder.layer.{}.attention.self.value"
    attention_out: str = "encoder.layer.{}.attention.output.dense"
    attention_norm: str = "encoder.layer.{}.attention.output.LayerNorm"
    up: str = "encoder.layer.{}.intermediate.dense"
    down: str = "encoder.layer.{}.output.dense"
    layer_norm: str = "encoder.layer.{}.output.LayerNorm"
    projection: str | None = None


@dataclass(frozen=True, slots=True)
class ClassifierNames:
    """A classification head's two products, with the activation between them."""

    dense: str
    activation: str
    projection: str


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of encoder.

    ``keys`` maps our words for the sizes to the configuration's. ``offset_positions``: position ids begin behind the
    padding id, and padding tokens have the padding id for a position. ``ignored``: parameters that inference never
    reads.
    """

    names: Names
    classifier: ClassifierNames
    keys: Mapping[str, str]
    offset_positions: bool = False
    ignored: tuple[str, ...] = ()


_KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "wide": "intermediate_size",
    "activation": "hidden_act",
}
_IGNORED = ("embeddings.position_ids",)
_POOLER = ("pooler.dense.weight", "pooler.dense.bias")

_ROBERTA = Family(
    Names("roberta."),
    ClassifierNames("classifier.dense", "tanh", "classifier.out_proj"),
    _KEYS,
    offset_positions=True,
    ignored=(*_IGNORED, *_POOLER),
)

FAMILIES: dict[str, Family] = {
    "bert": Family(
        Names("bert."), ClassifierNames("bert.pooler.dense", "tanh", "classifier"), _KEYS, ignored=(*_IGNORED, *_POOLER)
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": Family(
        Names("electra.", projection="embeddings_project"),
        ClassifierNames("classifier.dense", "gelu", "classifier.out_proj"),
        _KEYS,
        ignored=_IGNORED,
    ),
    "distilbert": Family(
        Names(
            "distilbert.",
            types=None,
            query="transformer.layer.{}.attention.q_lin",
            key="transformer.layer.{}.attention.k_lin",
            value="transformer.layer.{}.attention.v_lin",
            attention_out="transformer.layer.{}.attention.out_lin",
            attention_norm="transformer.layer.{}.sa_layer_norm",
            up="transformer.layer.{}.ffn.lin1",
            down="transformer.layer.{}.ffn.lin2",
            layer_norm="transformer.layer.{}.output_layer_norm",
        ),
        ClassifierNames("pre_classifier", "relu", "classifier"),
        {"hidden": "dim", "layers": "n_layers", "heads": "n_heads", "wide": "hidden_dim", "activation": "activation"},
        ignored=_IGNORED,
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How a checkpoint's encoder is put together."""

    family: Family
    prefix: str
    layers: int
    heads: int
    epsilon: float
    activation: Callable[[Tensor], object]
    has_types: bool
    has_projection: bool
    padding: int | None

    def name(self, part: str, layer: int | None = None) -> str:
        """The full name of one of ``Names``' parts."""
        local: str = getattr(self.family.names, part)
        return self.prefix + (local if layer is None else local.format(layer))


def plan_of(checkpoint: Checkpoint, weights: Weights) -> Plan:
    """How to run a checkpoint, checked against every parameter that it has. Raises ``Unsupported``."""
    try:
        return _plan_of(checkpoint, weights)
    except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise Unsupported(f"config.json holds a value of the wrong kind ({error})") from error


def _plan_of(checkpoint: Checkpoint, weights: Weights) -> Plan:
    config = checkpoint.config
    if config.get("auto_map"):
        raise Unsupported("config.json names code of its own (auto_map), which may compute something else")
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise Unsupported(f"it runs {', '.join(FAMILIES)}, not {config.get('model_type')}")
    missing = [key for key in family.keys.values() if config.get(key) is None]
    if missing:
        raise Unsupported(f"config.json does not say {', '.join(missing)}")
    sizes: dict[str, Any] = {word: config[key] for word, key in family.keys.items()}
    for word, key in family.keys.items():
        if word != "activation" and (
            not isinstance(sizes[word], int) or isinstance(sizes[word], bool) or sizes[word] < 1
        ):
            raise Unsupported(f"config.json says {key} is {sizes[word]!r:.100}: it needs a number from 1 on")
    if sizes["activation"] not in _ACTIVATIONS:
        raise Unsupported(f"it knows the activations {', '.join(_ACTIVATIONS)}, not {sizes['activation']}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"it knows absolute positions, not {config['position_embedding_type']}")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise Unsupported("it is a decoder")

    prefix = family.names.prefix if family.names.prefix + family.names.words + ".weight" in weights else ""
    names = family.names
    plan = Plan(
        family=family,
        prefix=prefix,
        layers=int(sizes["layers"]),
        heads=int(sizes["heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=_ACTIVATIONS[sizes["activation"]],
        has_types=names.types is not None,
        has_projection=names.projection is not None and f"{prefix}{names.projection}.weight" in weights,
        padding=_padding(config) if family.offset_positions else None,
    )
    _check_shapes(checkpoint, weights, plan, hidden=int(sizes["hidden"]), wide=int(sizes["wide"]))
    return plan


def classifier_activation(family: Family) -> Callable[[Tensor], object]:
    """The activation between the classification head's two products."""
    return torch.tanh_ if family.classifier.activation == "tanh" else _ACTIVATIONS[family.classifier.activation]


def _padding(config: Mapping[str, Any]) -> int:
    padding = config.get("pad_token_id", 1)
    if padding is None:
        raise Unsupported("config.json has no pad_token_id, behind which positions begin")
    return int(padding)


def _check_shapes(checkpoint: Checkpoint, weights: Weights, plan: Plan, *, hidden: int, wide: int) -> None:
    """Every parameter is there in the shape that the configuration says, and there is none besides."""
    if hidden % plan.heads:
        raise Unsupported(f"a hidden size of {hidden} does not divide into {plan.heads} heads")
    config, family = checkpoint.config, plan.family
    width = int(config.get("embedding_size", hidden))
    if width != hidden and not plan.has_projection:
        raise Unsupported(f"embeddings of {width} need a projection to {hidden}, and there is none")
    wanted: dict[str, tuple[int, ...]] = {
        plan.name("words") + ".weight": (int(config["vocab_size"]), width),
        plan.name("positions") + ".weight": (int(config["max_position_embeddings"]), width),
        **_vectors(plan.name("norm"), width),
    }
    if plan.has_types:
        wanted[plan.name("types") + ".weight"] = (int(config.get("type_vocab_size", 2)), width)
    if plan.has_projection:
        wanted |= _product(plan.name("projection"), width, hidden)
    for layer in range(plan.layers):
        for part in ("query", "key", "value", "attention_out"):
            wanted |= _product(plan.name(part, layer), hidden, hidden)
        wanted |= _product(plan.name("up", layer), hidden, wide)
        wanted |= _product(plan.name("down", layer), wide, hidden)
        for part in ("attention_norm", "layer_norm"):
            wanted |= _vectors(plan.name(part, layer), hidden)
    if checkpoint.kind == "cross-encoder":
        wanted |= _product(family.classifier.dense, hidden, hidden)
        wanted |= _product(family.classifier.projection, hidden, len(checkpoint.labels))

    for name, shape in wanted.items():
        if name not in weights:
            raise Unsupported(f"the parameter {name} is missing")
        if weights.shape(name) != shape:
            raise Unsupported(f"the parameter {name} has the shape {weights.shape(name)}, not {shape}")
        weights.use(name)
    for name in family.ignored:
        weights.use(plan.prefix + name)
    if weights.unused:
        raise Unsupported(f"there are parameters that it does not know: {', '.join(weights.unused[:3])}")


def _product(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _vectors(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
