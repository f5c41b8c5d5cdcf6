"""Reads the configuration of a packed encoder from a checkpoint, or says why it cannot run it.

The checkpoint's configuration and its parameters' names and shapes decide. Whatever is only nearly known is refused
with the reason: another activation, another kind of position, a parameter more or less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification
from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS
from rerank_core.engines.packed.architectures.base import (
    Architecture,
    ClassifierPooling,
    ConvolutionSize,
    LayerAttention,
)
from rerank_core.engines.packed.config_fields import (
    check_all_are_used,
    check_code,
    check_head_width,
    check_parameters,
    check_positions,
    check_size,
    find_activation,
    refuses_wrong_kinds,
)
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.target import Unsupported


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The pieces and sizes of a checkpoint's encoder.

    ``prefix`` stands before the names of the encoder's parameters. ``unbiased``: the parts that have no bias.
    ``attentions`` describes each layer's. ``padding``: the id behind which positions begin; None: they begin at 0.
    """

    architecture: Architecture
    prefix: str
    hidden: int
    layers: int
    heads: int
    positions: int
    epsilon: float
    activation: Callable[[Tensor], object]
    classifier_activation: Callable[[Tensor], object]
    classifier_pooling: ClassifierPooling
    unbiased: frozenset[str]
    attentions: tuple[LayerAttention, ...]
    convolution: ConvolutionSize | None
    has_positions: bool
    has_types: bool
    has_projection: bool
    padding: int | None

    @property
    def head_width(self) -> int:
        """The numbers of a query, a key or a value in one head of attention."""
        return self.hidden // self.heads

    def name(self, part: str, layer: int | None = None) -> str:
        """Return the full name of one of ``ParameterNames``' parts."""
        local: str = getattr(self.architecture.names, part)
        return self.prefix + (local if layer is None else local.format(layer))

    def has(self, part: str) -> bool:
        """Return whether the family has a part at all."""
        return getattr(self.architecture.names, part) is not None

    def has_attention_norm(self, layer: int) -> bool:
        """Return whether a layer has a norm for its attention: embeddings may be normalised already."""
        return layer > 0 or not self.architecture.norm_first or not self.has("norm")


def read_encoder_config(checkpoint: Checkpoint, weights: Weights) -> EncoderConfig:
    """Read the configuration, and check it against every parameter of the checkpoint. Raises ``Unsupported``."""
    with refuses_wrong_kinds():
        return _read(checkpoint, weights)


def _read(checkpoint: Checkpoint, weights: Weights) -> EncoderConfig:
    config = checkpoint.config
    architecture = _architecture(checkpoint, weights)
    missing = [name for name in architecture.sizes.values() if config.get(name) is None]
    if missing:
        raise Unsupported(f"config.json does not say {', '.join(missing)}")
    sizes: dict[str, Any] = {ours: config[name] for ours, name in architecture.sizes.items()}
    for ours, name in architecture.sizes.items():
        if ours != "activation":
            check_size(name, sizes[ours])
    position_type = config.get("position_embedding_type", architecture.positions[0])
    if position_type not in architecture.positions:
        raise Unsupported(f"it knows {', '.join(architecture.positions)} positions, not {position_type!s:.100}")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise Unsupported("is_decoder or add_cross_attention is set: it is a decoder")
    if config.get("pruned_heads"):
        raise Unsupported("pruned_heads is set: it knows layers with all of their heads")
    hidden, layers, heads = int(sizes["hidden"]), int(sizes["layers"]), int(sizes["heads"])
    if hidden % heads:
        raise Unsupported(f"a hidden size of {hidden} does not divide into {heads} heads")

    names, classifier = architecture.names, architecture.classifier
    prefix = names.prefix if f"{names.prefix}{names.tokens}.weight" in weights else ""
    epsilon_field, epsilon = architecture.epsilon
    positions = int(config["max_position_embeddings"])
    of_classifier = config.get(classifier.activation_field or "", classifier.activation)
    found = EncoderConfig(
        architecture=architecture,
        prefix=prefix,
        hidden=hidden,
        layers=layers,
        heads=heads,
        positions=positions,
        epsilon=float(config.get(epsilon_field, epsilon)),
        activation=find_activation(sizes["activation"]),
        classifier_activation=find_activation(of_classifier),
        classifier_pooling=architecture.classifier_pooling(config),
        unbiased=frozenset(part for part, said in architecture.biases.items() if not _has_bias(said, config)),
        attentions=tuple(_bounded(attention, positions) for attention in architecture.attention(config, layers)),
        convolution=_known(architecture.convolution(config)),
        has_positions=names.positions is not None
        and position_type == "absolute"
        and bool(config.get(architecture.positions_field or "", True)),
        has_types=names.types is not None and config.get("type_vocab_size") != 0,
        has_projection=names.projection is not None and f"{prefix}{names.projection}.weight" in weights,
        padding=_padding(architecture, config),
    )
    if any(attention.theta is not None for attention in found.attentions):
        check_head_width(found.head_width)
        check_positions(positions)
    _check_shapes(checkpoint, weights, found, intermediate=int(sizes["intermediate"]))
    return found


def _architecture(checkpoint: Checkpoint, weights: Weights) -> Architecture:
    """Find the family by the configuration, and by the names of the parameters where it has more than one way."""
    config = checkpoint.config
    found = ARCHITECTURES.get(str(config.get("model_type")))
    if found is None:
        raise Unsupported(f"it runs {', '.join([*ARCHITECTURES, *DECODERS])}, not {config.get('model_type')}")

    def is_of(architecture: Architecture) -> bool:
        names = architecture.names
        return any(f"{prefix}{names.up.format(0)}.weight" in weights for prefix in (names.prefix, ""))

    architecture = next(filter(is_of, found), found[0])
    check_code(checkpoint, architecture.code)
    return architecture


def _bounded(attention: LayerAttention, positions: int) -> LayerAttention:
    """Describe a layer that sees as far as any sequence is long as one that sees the whole."""
    is_whole = attention.reach is not None and attention.reach >= positions
    return replace(attention, reach=None) if is_whole else attention


def _known(convolution: ConvolutionSize | None) -> ConvolutionSize | None:
    if convolution is not None:
        find_activation(convolution.activation)
    return convolution


def _has_bias(said: bool | str, config: Mapping[str, Any]) -> bool:
    return said if isinstance(said, bool) else bool(config.get(said, False))


def _padding(architecture: Architecture, config: Mapping[str, Any]) -> int | None:
    """Read the id behind which positions begin; None: they begin at 0."""
    if not architecture.offset_positions:
        return None
    padding = config.get("pad_token_id", 1) if architecture.padding is None else architecture.padding
    if padding is None:
        raise Unsupported("config.json has no pad_token_id, behind which positions begin")
    return int(padding)


def _check_shapes(checkpoint: Checkpoint, weights: Weights, encoder: EncoderConfig, *, intermediate: int) -> None:
    """Refuse a parameter that is missing, has another shape than the configuration says, or is not known."""
    config, architecture, hidden = checkpoint.config, encoder.architecture, encoder.hidden
    width = int(config.get("embedding_size", hidden))
    if width != hidden and not encoder.has_projection:
        raise Unsupported(f"embeddings of {width} need a projection to {hidden}, and there is none")
    wanted: dict[str, tuple[int, ...]] = {encoder.name("tokens") + ".weight": (int(config["vocab_size"]), width)}

    def product(part: str, name: str, inputs: int, outputs: int) -> None:
        wanted[f"{name}.weight"] = (outputs, inputs)
        if part not in encoder.unbiased:
            wanted[f"{name}.bias"] = (outputs,)

    def norm(part: str, name: str, size: int) -> None:
        wanted[f"{name}.weight"] = (size,)
        if part not in encoder.unbiased:
            wanted[f"{name}.bias"] = (size,)

    if encoder.has_positions:
        wanted[encoder.name("positions") + ".weight"] = (encoder.positions, width)
    elif encoder.has("positions"):
        weights.use(encoder.name("positions") + ".weight")  # a table that the network has, and does not read
    if encoder.has_types:
        wanted[encoder.name("types") + ".weight"] = (2 if checkpoint.type_rows is None else checkpoint.type_rows, width)
    if encoder.has("norm"):
        norm("norm", encoder.name("norm"), width)
    if encoder.has_projection:
        product("projection", encoder.name("projection"), width, hidden)
    for layer in range(encoder.layers):
        for part in ("qkv",) if encoder.has("qkv") else ("query", "key", "value"):
            product(part, encoder.name(part, layer), hidden, 3 * hidden if part == "qkv" else hidden)
        product("attention_out", encoder.name("attention_out", layer), hidden, hidden)
        product("up", encoder.name("up", layer), hidden, (2 if architecture.gate else 1) * intermediate)
        product("down", encoder.name("down", layer), intermediate, hidden)
        if encoder.has_attention_norm(layer):
            norm("attention_norm", encoder.name("attention_norm", layer), hidden)
        norm("layer_norm", encoder.name("layer_norm", layer), hidden)
        relative = encoder.attentions[layer].disentangled
        if relative is not None and not relative.is_shared:
            if relative.has_keys:
                product("relative_key", encoder.name("relative_key", layer), hidden, hidden)
            if relative.has_queries:
                product("relative_query", encoder.name("relative_query", layer), hidden, hidden)
        if encoder.attentions[layer].distances is not None:
            wanted[encoder.name("distances", layer) + ".weight"] = (2 * encoder.positions - 1, encoder.head_width)
    if encoder.convolution is not None:
        wanted[encoder.name("convolution") + ".weight"] = (hidden, hidden, encoder.convolution.kernel)
        wanted[encoder.name("convolution") + ".bias"] = (hidden,)
        norm("convolution_norm", encoder.name("convolution_norm"), hidden)
    for bias in {attention.bias for attention in encoder.attentions if attention.bias is not None}:
        wanted[encoder.name("relative") + ".weight"] = (bias.rows, encoder.heads)
    tables = {attention.disentangled for attention in encoder.attentions if attention.disentangled is not None}
    for table in tables:
        wanted[encoder.name("relative") + ".weight"] = (table.rows, hidden)
        if table.is_normalized:
            norm("relative_norm", encoder.name("relative_norm"), hidden)
    if encoder.has("final_norm"):
        norm("final_norm", encoder.name("final_norm"), hidden)
    if isinstance(checkpoint.head, Classification) and checkpoint.head.chain is None:
        product("classifier_dense", architecture.classifier.dense, hidden, hidden)
        if architecture.classifier.norm is not None:
            norm("classifier_norm", architecture.classifier.norm, hidden)
        product("classifier_projection", architecture.classifier.projection, hidden, len(checkpoint.head.labels))

    check_parameters(weights, wanted)
    for name in architecture.ignored:
        weights.use(encoder.prefix + name)
    check_all_are_used(weights)
