"""Describes a family of encoders: the names of its parameters, its pieces, and the fields of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

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

ClassifierPooling: TypeAlias = Literal["cls", "mean"]


@dataclass(frozen=True, slots=True)
class ParameterNames:
    """The names of the parameters, without ``.weight`` and ``.bias``; those of layers have ``{}`` for the number.

    None: a family without this part. ``qkv``: query, key and value side by side, in place of the three.
    """

    prefix: str
    tokens: str = "embeddings.word_embeddings"
    positions: str | None = "embeddings.position_embeddings"
    types: str | None = "embeddings.token_type_embeddings"
    norm: str | None = "embeddings.LayerNorm"
    query: str = "encoder.layer.{}.attention.self.query"
    key: str = "encoder.layer.{}.attention.self.key"
    value: str = "encoder.layer.{}.attention.self.value"
    qkv: str | None = None
    attention_out: str = "encoder.layer.{}.attention.output.dense"
    attention_norm: str = "encoder.layer.{}.attention.output.LayerNorm"
    up: str = "encoder.layer.{}.intermediate.dense"
    down: str = "encoder.layer.{}.output.dense"
    layer_norm: str = "encoder.layer.{}.output.LayerNorm"
    final_norm: str | None = None
    projection: str | None = None
    relative: str = ""
    relative_norm: str = ""
    relative_query: str = ""
    relative_key: str = ""
    distances: str = "encoder.layer.{}.attention.self.distance_embedding"
    convolution: str = ""
    convolution_norm: str = ""


@dataclass(frozen=True, slots=True)
class ClassifierNames:
    """A classification head's two products, the activation between them, and the norm behind it where there is one.

    These names have no prefix. ``activation_field``: the configuration's field that names the activation, of which
    ``activation`` is the default.
    """

    dense: str
    activation: str
    projection: str
    norm: str | None = None
    activation_field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disentangled:
    """DeBERTa's attention.

    - ``buckets``: so many rows of relative positions on each side, 0: one for each of ``furthest`` distances.
    - ``has_keys``, ``has_queries``: whether relative positions have keys and queries.
    - ``is_shared``: these are made by the projections of the content, not by their own.
    - ``is_normalized``: the table goes through a norm first.
    """

    buckets: int
    furthest: int
    has_keys: bool
    has_queries: bool
    is_shared: bool
    is_normalized: bool

    @property
    def rows(self) -> int:
        """The rows of the table of relative positions."""
        return 2 * (self.buckets or self.furthest)


@dataclass(frozen=True, slots=True)
class DistanceKeys:
    """BERT's relative positions: each distance has a vector of its own, which all heads share.

    It scores with the query and, ``has_queries``, with the key as well.
    """

    has_queries: bool


@dataclass(frozen=True, slots=True)
class DistanceBias:
    """Biases of the scores for the distance of two tokens: ``rows``, which distances up to ``furthest`` share."""

    rows: int
    furthest: int


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """The attention of one layer.

    - ``reach``: how many places away a token is seen; None: in the whole sequence.
    - ``theta``: the base of rotary positions; None: the layer has none. ``stretch``: so many times the length of the
      training is read, by frequencies that are so much lower (NTK scaling).
    - ``disentangled``, ``distances``: relative positions with keys and queries of their own; ``bias``: with biases of
      their own.
    """

    reach: int | None = None
    theta: float | None = None
    stretch: float = 1.0
    disentangled: Disentangled | None = None
    distances: DistanceKeys | None = None
    bias: DistanceBias | None = None


@dataclass(frozen=True, slots=True)
class ConvolutionSize:
    """A convolution over ``kernel`` neighbouring tokens, beside the first layer, and the name of its activation."""

    kernel: int
    activation: str


def whole_attention(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    """Describe layers that all see the whole sequence, without positions of their own."""
    return [LayerAttention()] * layers


ABSOLUTE = ("absolute",)
ABSOLUTE_OR_RELATIVE = (*ABSOLUTE, "relative_key", "relative_key_query")


def absolute_or_relative(config: Mapping[str, Any], layers: int) -> Sequence[LayerAttention]:
    """Describe layers that all see the whole sequence, with BERT's relative positions where the configuration asks."""
    match config.get("position_embedding_type"):
        case "relative_key":
            return [LayerAttention(distances=DistanceKeys(has_queries=False))] * layers
        case "relative_key_query":
            return [LayerAttention(distances=DistanceKeys(has_queries=True))] * layers
        case _:
            return whole_attention(config, layers)


def no_convolution(config: Mapping[str, Any]) -> ConvolutionSize | None:
    """Describe a network without a convolution."""
    return None


def first_token(config: Mapping[str, Any]) -> ClassifierPooling:
    """Describe a classification head that reads the first token."""
    return "cls"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family of encoders.

    - ``name``, ``examples``: of the family, and of models on the hub, for the documentation. ``base``: a network that
      such models are trained from, where none is well known.
    - ``code``: the classes of a checkpoint's own code (auto_map) that compute the same.
    - ``sizes`` has the configuration's name for each of ours.
    - ``epsilon``: the configuration's field of the norms' epsilon, and its default.
    - ``offset_positions``: position ids begin behind the padding id, and padding tokens have the padding id for a
      position. ``padding``: that id, where it is not the configuration's.
    - ``positions_field``: the configuration's field that says whether there are absolute positions (by default there
      are); None: that is the same in the whole family.
    - ``norm_first``: norms stand before attention and feed-forward. Where the embeddings have a norm, the first layer
      has none before attention.
    - ``gate``: the feed-forward's first product has two halves, of which the ``first`` or the ``second`` is activated
      and multiplied with the other; None: it has one, which is activated.
    - ``positions``: the kinds that the configuration may name (position_embedding_type), the default first. Only
      ``absolute`` ones have a table.
    - ``biases``: whether a part has a bias, or the configuration's field that says so (by default it has none); parts
      that are not listed have one.
    - ``attention`` describes each layer's attention, ``convolution`` what stands beside the first layer, and
      ``classifier_pooling`` what the head reads, by the configuration. They raise ``Unsupported``.
    - ``ignored``: parameters that inference never reads.
    """

    name: str
    examples: tuple[str, ...]
    names: ParameterNames
    classifier: ClassifierNames
    code: frozenset[str] = frozenset()
    sizes: Mapping[str, str] = field(default_factory=lambda: SIZES)
    epsilon: tuple[str, float] = ("layer_norm_eps", 1e-12)
    offset_positions: bool = False
    padding: int | None = None
    positions_field: str | None = None
    norm_first: bool = False
    gate: Literal["first", "second"] | None = None
    positions: tuple[str, ...] = ABSOLUTE
    biases: Mapping[str, bool | str] = field(default_factory=dict)
    attention: Callable[[Mapping[str, Any], int], Sequence[LayerAttention]] = whole_attention
    convolution: Callable[[Mapping[str, Any]], ConvolutionSize | None] = no_convolution
    classifier_pooling: Callable[[Mapping[str, Any]], ClassifierPooling] = first_token
    ignored: tuple[str, ...] = ()
    base: str | None = None
