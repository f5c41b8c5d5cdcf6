"""Puts the packed encoder and its head together from a checkpoint's parameters."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import assert_never

import torch
from torch import Tensor

from rerank_core.checkpoints.heads import Classification, Pooling
from rerank_core.checkpoints.heads import Head as DescribedHead
from rerank_core.engines.packed.encoder import (
    AbsorbedAttention,
    Embeddings,
    Encoder,
    LastAttention,
    LastLayer,
    Layer,
    Norm,
    WholeAttention,
)
from rerank_core.engines.packed.encoder_config import EncoderConfig, classifier_activation
from rerank_core.engines.packed.heads import ClassificationHead, FirstToken, Head, MeanPooling
from rerank_core.engines.packed.ops.attention import Attention, per_sequence, variable_length
from rerank_core.engines.packed.ops.linear import BFloat16Linear, FloatLinear, Linear
from rerank_core.engines.packed.weights import Weights

# How the layers' products are computed on a CPU; everything else there is float32. Those of fewer bits
# begin as float32: see ``quantization``.
_CPU_PRODUCTS: dict[str, Callable[[Tensor, Tensor], Linear]] = {
    "float32": FloatLinear,
    "bfloat16": BFloat16Linear,
}


def _numbers(device: str, dtype: str) -> tuple[torch.dtype, Callable[[Tensor, Tensor], Linear]]:
    """Choose the dtype to compute in, and the layers' products."""
    return (
        (torch.float32, _CPU_PRODUCTS.get(dtype, FloatLinear))
        if device == "cpu"
        else (getattr(torch, dtype), FloatLinear)
    )


def _has_one_kernel(device: str, dtype: torch.dtype) -> bool:
    """Return whether ``variable_length`` runs there."""
    there = device.startswith("cuda") and find_spec("torch.nn.attention.varlen") is not None
    return there and dtype in (torch.float16, torch.bfloat16)


class Builder:
    """Puts the encoder and its head together from a checkpoint's parameters."""

    def __init__(self, weights: Weights, config: EncoderConfig, *, device: str, dtype: str) -> None:
        self._weights = weights
        self._config = config
        self._device = device
        self._dtype, self._product = _numbers(device, dtype)
        self._one_kernel = _has_one_kernel(device, self._dtype)

    def encoder(self, *, first_only: bool) -> Encoder:
        """Build the encoder. ``first_only``: its last layer computes the first token of each sequence alone."""
        config = self._config
        count = config.layers - 1 if first_only else config.layers
        tokens = self._weights.get(config.name("tokens") + ".weight")
        attend: Attention = variable_length if self._one_kernel else per_sequence
        return Encoder(
            embeddings=Embeddings(
                tokens=tokens if self._device == "cpu" else tokens.to(self._device, self._dtype),
                positions=self._tensor(config.name("positions") + ".weight"),
                types=self._tensor(config.name("types") + ".weight") if config.has_types else None,
                norm=self._norm(config.name("norm")),
                projection=self._linear(config.name("projection")) if config.has_projection else None,
            ),
            layers=tuple(self._layer(number) for number in range(count)),
            heads=config.heads,
            activation=config.activation,
            attend=attend,
            last=self._last_layer(count) if first_only else None,
        )

    def head(self, described: DescribedHead) -> tuple[Head, bool]:
        """Build the head, and say whether it reads first tokens only."""
        match described:
            case Pooling(mode=mode):
                return (MeanPooling(), False) if mode == "mean" else (FirstToken(), True)
            case Classification():
                names = self._config.architecture.classifier
                built = ClassificationHead(
                    dense=self._linear(names.dense),
                    activation=classifier_activation(self._config.architecture),
                    weight=self._tensor(names.projection + ".weight").float(),
                    bias=self._tensor(names.projection + ".bias").float(),
                )
                return built, True
            case _:
                assert_never(described)

    def _layer(self, number: int) -> Layer:
        def product(part: str) -> Linear:
            return self._product(*self._parameters(self._config.name(part, number)))

        return Layer(
            qkv=self._product(*self._qkv(number)),
            attention_out=product("attention_out"),
            attention_norm=self._norm(self._config.name("attention_norm", number)),
            up=product("up"),
            down=product("down"),
            norm=self._norm(self._config.name("layer_norm", number)),
        )

    def _last_layer(self, number: int) -> LastLayer:
        name = self._config.name
        return LastLayer(
            attention=self._last_attention(number),
            attention_out=self._linear(name("attention_out", number)),
            attention_norm=self._norm(name("attention_norm", number)),
            up=self._linear(name("up", number)),
            down=self._linear(name("down", number)),
            norm=self._norm(name("layer_norm", number)),
        )

    def _last_attention(self, number: int) -> LastAttention:
        if self._one_kernel:  # a loop over the sequences would cost more than keys and values
            return WholeAttention(FloatLinear(*self._qkv(number)))
        name, heads = self._config.name, self._config.heads
        key, _ = self._parameters(name("key", number))
        value, value_bias = self._parameters(name("value", number))
        return AbsorbedAttention(
            query=self._linear(name("query", number)),
            key=key.view(heads, -1, key.shape[1]),
            value=value.view(heads, -1, value.shape[1]),
            value_bias=value_bias,
        )

    def _qkv(self, number: int) -> tuple[Tensor, Tensor]:
        """Put the parameters of query, key and value side by side."""
        parts = [self._parameters(self._config.name(part, number)) for part in ("query", "key", "value")]
        return torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])

    def _linear(self, name: str) -> Linear:
        return FloatLinear(*self._parameters(name))

    def _parameters(self, name: str) -> tuple[Tensor, Tensor]:
        return self._tensor(name + ".weight"), self._tensor(name + ".bias")

    def _norm(self, name: str) -> Norm:
        return Norm(*self._parameters(name), self._config.epsilon)

    def _tensor(self, name: str) -> Tensor:
        """Return a parameter in the dtype to compute with: where the file has it so, it stays mapped on a CPU."""
        return self._weights.get(name).to(self._device, self._dtype)
