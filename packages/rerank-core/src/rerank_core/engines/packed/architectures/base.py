"""Describes a family of encoders: the names of its parameters, and of the fields of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# BERT's own names, which most families have kept.
SIZES: Mapping[str, str] = MappingProxyType(
    {
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "activation": "hidden_act",
    }
)
POSITION_IDS = ("embeddings.position_ids",)
POOLER = ("pooler.dense.weight", "pooler.dense.bias")


@dataclass(frozen=True, slots=True)
class ParameterNames:
    """The names of the parameters, without ``.weight`` and ``.bias``; those of layers have ``{}`` for the number."""

    prefix: str
    tokens: str = "embeddings.word_embeddings"
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
class Architecture:
    """One family of encoders.

    ``sizes`` has the configuration's name for each of ours. ``offset_positions``: position ids begin behind the padding
    id, and padding tokens have the padding id for a position. ``ignored``: parameters that inference never reads.
    """

    names: ParameterNames
    classifier: ClassifierNames
    sizes: Mapping[str, str] = field(default_factory=lambda: SIZES)
    offset_positions: bool = False
    ignored: tuple[str, ...] = ()
