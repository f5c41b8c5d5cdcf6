"""Reads the configuration of a packed encoder from a checkpoint, or says why it cannot run it.

The checkpoint's configuration and its parameters' names and shapes decide. Whatever is only nearly known is refused
with the reason: another activation, another kind of position, a parameter more or less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import torch
from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification, Pooling
from rerank_core.engines.packed.architectures import ARCHITECTURES
from rerank_core.engines.packed.architectures.base import Architecture
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.target import Unsupported

_gelu = torch.ops.aten.gelu_
_ACTIVATIONS: dict[str, Callable[[Tensor], object]] = {
    "gelu": _gelu,
    "gelu_new": partial(_gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(_gelu, approximate="tanh"),
    "relu": torch.relu_,
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The pieces and sizes of a checkpoint's encoder.

    ``prefix`` stands before the names of the encoder's parameters. ``padding``: the id behind which positions begin;
    None: they begin at 0.
    """

    architecture: Architecture
    prefix: str
    layers: int
    heads: int
    epsilon: float
    activation: Callable[[Tensor], object]
    has_types: bool
    has_projection: bool
    padding: int | None

    def name(self, part: str, layer: int | None = None) -> str:
        """Return the full name of one of ``ParameterNames``' parts."""
        local: str = getattr(self.architecture.names, part)
        return self.prefix + (local if layer is None else local.format(layer))


def read_encoder_config(checkpoint: Checkpoint, weights: Weights) -> EncoderConfig:
    """Read the configuration, and check it against every parameter of the checkpoint. Raises ``Unsupported``."""
    try:
        return _read(checkpoint, weights)
    except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise Unsupported(f"config.json holds a value of the wrong kind ({error})") from error


def _read(checkpoint: Checkpoint, weights: Weights) -> EncoderConfig:
    config = checkpoint.config
    if config.get("auto_map"):
        raise Unsupported("config.json names code of its own (auto_map), which may compute something else")
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        raise Unsupported(f"it runs {', '.join(ARCHITECTURES)}, not {config.get('model_type')}")
    missing = [name for name in architecture.sizes.values() if config.get(name) is None]
    if missing:
        raise Unsupported(f"config.json does not say {', '.join(missing)}")
    sizes: dict[str, Any] = {ours: config[name] for ours, name in architecture.sizes.items()}
    for ours, name in architecture.sizes.items():
        size = sizes[ours]
        if ours != "activation" and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise Unsupported(f"config.json says {name} is {size!r:.100}: it needs a number from 1 on")
    if sizes["activation"] not in _ACTIVATIONS:
        raise Unsupported(f"it knows the activations {', '.join(_ACTIVATIONS)}, not {sizes['activation']}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise Unsupported(f"it knows absolute positions, not {config['position_embedding_type']}")
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise Unsupported("it is a decoder")

    names = architecture.names
    prefix = names.prefix if f"{names.prefix}{names.tokens}.weight" in weights else ""
    found = EncoderConfig(
        architecture=architecture,
        prefix=prefix,
        layers=int(sizes["layers"]),
        heads=int(sizes["heads"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=_ACTIVATIONS[sizes["activation"]],
        has_types=names.types is not None,
        has_projection=names.projection is not None and f"{prefix}{names.projection}.weight" in weights,
        padding=_padding(config) if architecture.offset_positions else None,
    )
    _check_shapes(checkpoint, weights, found, hidden=int(sizes["hidden"]), intermediate=int(sizes["intermediate"]))
    return found


def classifier_activation(architecture: Architecture) -> Callable[[Tensor], object]:
    """Return the activation between the classification head's two products."""
    name = architecture.classifier.activation
    return torch.tanh_ if name == "tanh" else _ACTIVATIONS[name]


def _padding(config: Mapping[str, Any]) -> int:
    padding = config.get("pad_token_id", 1)
    if padding is None:
        raise Unsupported("config.json has no pad_token_id, behind which positions begin")
    return int(padding)


def _check_shapes(
    checkpoint: Checkpoint, weights: Weights, encoder: EncoderConfig, *, hidden: int, intermediate: int
) -> None:
    """Refuse a parameter that is missing, has another shape than the configuration says, or is not known."""
    if hidden % encoder.heads:
        raise Unsupported(f"a hidden size of {hidden} does not divide into {encoder.heads} heads")
    config, architecture = checkpoint.config, encoder.architecture
    width = int(config.get("embedding_size", hidden))
    if width != hidden and not encoder.has_projection:
        raise Unsupported(f"embeddings of {width} need a projection to {hidden}, and there is none")
    wanted: dict[str, tuple[int, ...]] = {
        encoder.name("tokens") + ".weight": (int(config["vocab_size"]), width),
        encoder.name("positions") + ".weight": (int(config["max_position_embeddings"]), width),
        **_vectors(encoder.name("norm"), width),
    }
    if encoder.has_types:
        wanted[encoder.name("types") + ".weight"] = (int(config.get("type_vocab_size", 2)), width)
    if encoder.has_projection:
        wanted |= _product(encoder.name("projection"), width, hidden)
    for layer in range(encoder.layers):
        for part in ("query", "key", "value", "attention_out"):
            wanted |= _product(encoder.name(part, layer), hidden, hidden)
        wanted |= _product(encoder.name("up", layer), hidden, intermediate)
        wanted |= _product(encoder.name("down", layer), intermediate, hidden)
        for part in ("attention_norm", "layer_norm"):
            wanted |= _vectors(encoder.name(part, layer), hidden)
    match checkpoint.head:
        case Classification(labels=labels):
            wanted |= _product(architecture.classifier.dense, hidden, hidden)
            wanted |= _product(architecture.classifier.projection, hidden, len(labels))
        case Pooling():
            pass  # it has no parameters
        case _:
            assert_never(checkpoint.head)

    for name, shape in wanted.items():
        if name not in weights:
            raise Unsupported(f"the parameter {name} is missing")
        if weights.shape(name) != shape:
            raise Unsupported(f"the parameter {name} has the shape {weights.shape(name)}, not {shape}")
        weights.use(name)
    for name in architecture.ignored:
        weights.use(encoder.prefix + name)
    if weights.unused:
        raise Unsupported(f"there are parameters that it does not know: {', '.join(weights.unused[:3])}")


def _product(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _vectors(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
