"""Puts the packed encoder and its head together from a checkpoint's parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from rerank_core.checkpoints.chain import PoolingMode
from rerank_core.checkpoints.heads import Head as DescribedHead
from rerank_core.engines.chain import ChainLayers
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.architectures import base
from rerank_core.engines.packed.architectures.base import LayerAttention
from rerank_core.engines.packed.encoder import Embeddings, Encoder, LastAttention, LastLayer, Layer
from rerank_core.engines.packed.encoder_config import EncoderConfig
from rerank_core.engines.packed.heads import Dense, Head, Pool, Projection, first_token, largest, last_token, mean
from rerank_core.engines.packed.last_attention import (
    AbsorbedAttention,
    AbsorbedValue,
    FirstTokenAttention,
    WholeAttention,
    by_torch,
)
from rerank_core.engines.packed.ops.activations import ACTIVATIONS, Gate, Gated, Plain, already_activated
from rerank_core.engines.packed.ops.attention import (
    Attention,
    Bias,
    BiasedAttention,
    LocalAttention,
    per_sequence,
)
from rerank_core.engines.packed.ops.convolution import Convolution
from rerank_core.engines.packed.ops.disentangled import DisentangledBias, distance_buckets
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.norm import Norm
from rerank_core.engines.packed.ops.relative import DistanceBias, bias_rows
from rerank_core.engines.packed.ops.rotary import Rotary
from rerank_core.engines.packed.ops.varlen import EVERYWHERE, VarlenAttention, VarlenKernel, find_kernel
from rerank_core.engines.packed.weights import Weights

_POOLS: dict[PoolingMode, Pool] = {"cls": first_token, "mean": mean, "lasttoken": last_token, "max": largest}


class Builder:
    """Puts the encoder and its head together from a checkpoint's parameters."""

    def __init__(self, weights: Weights, config: EncoderConfig, *, device: str, dtype: str) -> None:
        self._weights = weights
        self._config = config
        self._device = device
        self._dtype, self._product = dtypes.numbers(device, dtype)
        self._wanted = dtype
        self._float_product = dtypes.float_product(device)
        self._last_product = dtypes.last_product(device, dtype)
        intermediate = len(weights.get(config.name("up", 0) + ".weight"))
        self._fused = dtypes.fused(device, config.hidden, config.head_width, intermediate)
        self._activated = self._product_with_activation()
        self._kernel = cache(self._varlen_kernel)
        self._within = cache(self._attention)
        self._biased = cache(self._distance_bias)
        self._rotary = cache(self._tables)

    def encoder(self, *, first_only: bool) -> Encoder:
        """Build the encoder. ``first_only``: its last layer computes the first token of each sequence alone."""
        config = self._config
        count = config.layers - 1 if first_only else config.layers
        tokens = self._weights.get(config.name("tokens") + ".weight")
        return Encoder(
            embeddings=Embeddings(
                tokens=tokens if self._device == "cpu" else tokens.to(self._device, self._dtype),
                positions=self._tensor(config.name("positions") + ".weight") if config.has_positions else None,
                types=self._tensor(config.name("types") + ".weight") if config.has_types else None,
                norm=self._norm("norm") if config.has("norm") else None,
                dtype=self._dtype,
                projection=self._linear("projection") if config.has_projection else None,
            ),
            layers=tuple(self._layer(number) for number in range(count)),
            heads=config.heads,
            activate=self._activation(),
            norm_first=config.architecture.norm_first,
            final_norm=self._norm("final_norm") if config.has("final_norm") else None,
            last=self._last_layer(count) if first_only else None,
            convolution=None if config.convolution is None else self._convolution(config.convolution),
        )

    def head(self, wanted: DescribedHead, root: Path) -> tuple[Head, bool]:
        """Build the head, and say whether it reads first tokens only. ``root`` holds the model's files."""
        if wanted.chain is None:
            mode: PoolingMode = self._config.classifier_pooling
            layers = self._classifier()
        else:
            mode = wanted.chain.pooling
            layers = [ChainLayers(root, wanted.chain.layers, width=self._config.hidden, device=self._device)]
        return Head(_POOLS[mode], tuple(layers)), mode == "cls"

    def _activation(self) -> Callable[[Tensor], Tensor]:
        """Build what stands between the feed-forward's two products."""
        if self._activated is not None:
            return already_activated
        function, gate = self._config.activation, self._config.architecture.gate
        if gate is None:
            return Plain(function)
        return Gated(Gate(function, self._fused.gates.get(function)), second=gate == "second")

    def _product_with_activation(self) -> dtypes.MakeLinear | None:
        """Choose a product that computes the feed-forward's activation too, where the next one reads what it gives."""
        is_gelu = self._config.activation is ACTIVATIONS["gelu"] and self._config.architecture.gate is None
        return dtypes.activated(self._product) if is_gelu else None

    def _classifier(self) -> list[Callable[[Tensor], Tensor]]:
        """Build the layers of the network's own classification head."""
        names, config = self._config.architecture.classifier, self._config
        dense = self._float_product(*self._parameters(names.dense, has_bias="classifier_dense" not in config.unbiased))
        layers: list[Callable[[Tensor], Tensor]] = [Dense(dense, config.classifier_activation)]
        if names.norm is not None:
            weight, bias = self._parameters(names.norm, has_bias="classifier_norm" not in config.unbiased)
            layers.append(Norm(weight, bias, config.epsilon))
        weight, bias = (self._tensor(f"{names.projection}.{part}").float() for part in ("weight", "bias"))
        return [*layers, Projection(weight, bias)]

    def _layer(self, number: int) -> Layer:
        return Layer(
            qkv=self._product(*self._qkv(number)),
            attend=self._attend(number),
            rotary=self._rotation(number),
            attention_out=self._product(*self._part("attention_out", number)),
            attention_norm=self._attention_norm(number),
            up=(self._activated or self._product)(*self._part("up", number)),
            down=self._product(*self._part("down", number)),
            norm=self._norm("layer_norm", number),
        )

    def _last_layer(self, number: int) -> LastLayer:
        return LastLayer(
            attention=self._last_attention(number),
            attention_out=self._last_product(*self._part("attention_out", number)),
            attention_norm=self._attention_norm(number),
            up=(self._activated or self._last_product)(*self._part("up", number)),
            down=self._last_product(*self._part("down", number)),
            norm=self._norm("layer_norm", number),
        )

    def _last_attention(self, number: int) -> LastAttention:
        config, attention = self._config, self._config.attentions[number]
        bias, rotary = self._bias(number), self._rotation(number)
        if bias is None and self._kernel(attention.reach) is not None:
            # There a loop over the sequences would cost more than it saves.
            return WholeAttention(self._float_product(*self._qkv(number)), self._attend(number), rotary)
        query, key, (value, value_bias) = self._query_key_value(number)
        product = dtypes.own_head_product(self._device, config.hidden, config.head_width) or by_torch
        by_head = value.view(config.heads, -1, value.shape[1]).transpose(1, 2)
        # The kernel reads it in one piece; torch multiplies with the transposed view.
        values = AbsorbedValue(by_head if product is by_torch else by_head.contiguous(), value_bias, product)
        if attention == LayerAttention():  # nothing is between the products of query and key
            keys = key[0].view(config.heads, -1, key[0].shape[1])
            return AbsorbedAttention(self._last_product(*query), keys, values, product)
        query_product, key_product = self._last_product(*query), self._last_product(*key)
        return FirstTokenAttention(query_product, key_product, values, rotary, bias, attention.reach)

    def _attend(self, number: int) -> Attention:
        """Build a layer's attention; layers share what does not depend on their weights."""
        bias = self._bias(number)
        return self._within(self._config.attentions[number].reach) if bias is None else BiasedAttention(bias)

    def _bias(self, number: int) -> Bias | None:
        """Build what a layer adds to its attention's scores, where a family has that."""
        attention = self._config.attentions[number]
        if attention.disentangled is not None:
            return self._disentangled(attention.disentangled, number)
        if attention.distances is not None:
            return self._distance_keys(attention.distances, number)
        return None if attention.bias is None else self._biased(attention.bias)

    def _disentangled(self, wanted: base.Disentangled, number: int) -> Bias:
        table = self._tensor(self._config.name("relative") + ".weight")
        if wanted.is_normalized:
            table = self._norm("relative_norm")(table)

        def project(part: str, own: str) -> Tensor:
            projected = self._linear(part if wanted.is_shared else own, number)(table)
            return projected.view(len(table), self._config.heads, -1).transpose(0, 1).contiguous()

        terms = 1 + wanted.has_keys + wanted.has_queries
        return DisentangledBias(
            keys=project("key", "relative_key") if wanted.has_keys else None,
            queries=project("query", "relative_query") if wanted.has_queries else None,
            buckets=distance_buckets(
                buckets=wanted.buckets, furthest=wanted.furthest, positions=self._config.positions
            ),
            scale=(self._config.head_width * terms) ** -0.5,
            device=self._device,
        )

    def _distance_keys(self, wanted: base.DistanceKeys, number: int) -> Bias:
        table = self._tensor(self._config.name("distances", number) + ".weight")[None]
        return DisentangledBias(
            keys=table,
            queries=table if wanted.has_queries else None,
            buckets=torch.arange(table.shape[1]),
            scale=self._config.head_width**-0.5,
            device=self._device,
        )

    def _distance_bias(self, wanted: base.DistanceBias) -> Bias:
        table = self._tensor(self._config.name("relative") + ".weight")
        rows = bias_rows(rows=wanted.rows, furthest=wanted.furthest, positions=self._config.positions)
        return DistanceBias(table[rows.to(self._device)].t().contiguous(), scale=self._config.head_width**-0.5)

    def _convolution(self, wanted: base.ConvolutionSize) -> Convolution:
        weight, bias = self._part("convolution")  # [outputs, inputs, neighbours]
        return Convolution(
            self._float_product(weight.transpose(1, 2).flatten(1), bias),
            wanted.kernel,
            ACTIVATIONS[wanted.activation],
            self._norm("convolution_norm"),
        )

    def _attention(self, reach: int | None) -> Attention:
        kernel = self._kernel(reach)
        if kernel is not None:
            return VarlenAttention(kernel)
        if self._config.head_width % 32 == 0:
            own = dtypes.own_attention(self._device, self._wanted, self._config.hidden, reach)
            if own is not None:
                return own
        return per_sequence if reach is None else LocalAttention(reach, device=self._device, dtype=self._dtype)

    def _varlen_kernel(self, reach: int | None) -> VarlenKernel | None:
        """Find the kernel for all sequences at once; None where each is computed alone."""
        if not dtypes.has_one_kernel(self._device, self._dtype):
            return None
        heads = self._config.heads
        return find_kernel(
            self._device,
            self._dtype,
            heads=heads,
            key_heads=heads,
            head_width=self._config.head_width,
            window=EVERYWHERE if reach is None else (reach, reach),
        )

    def _rotation(self, number: int) -> Rotary | None:
        """Build a layer's rotation; layers share their tables."""
        attention = self._config.attentions[number]
        return None if attention.theta is None else self._rotary(attention.theta, attention.stretch)

    def _tables(self, theta: float, stretch: float) -> Rotary:
        width, positions = self._config.head_width, self._config.positions
        return Rotary.of(
            theta=theta,
            stretch=stretch,
            width=width,
            positions=positions,
            device=self._device,
            fused=self._fused.rotate,
        )

    def _qkv(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Put the parameters of query, key and value side by side, where they are not."""
        if self._config.has("qkv"):
            return self._part("qkv", number)
        parts = self._query_key_value(number)
        biases = [bias for _, bias in parts if bias is not None]
        return torch.cat([weight for weight, _ in parts]), torch.cat(biases) if biases else None

    def _query_key_value(self, number: int) -> list[tuple[Tensor, Tensor | None]]:
        """Return the parameters of each of the three."""
        if not self._config.has("qkv"):
            return [self._part(part, number) for part in ("query", "key", "value")]
        weight, bias = self._part("qkv", number)
        biases = [None] * 3 if bias is None else bias.chunk(3)
        return list(zip(weight.chunk(3), biases, strict=True))

    def _attention_norm(self, number: int) -> Norm | None:
        return self._norm("attention_norm", number) if self._config.has_attention_norm(number) else None

    def _linear(self, part: str, number: int | None = None) -> Linear:
        return self._float_product(*self._part(part, number))

    def _norm(self, part: str, number: int | None = None) -> Norm:
        return Norm(*self._part(part, number), self._config.epsilon, self._fused.add_norm)

    def _part(self, part: str, number: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the weight and the bias of one of the encoder's parts."""
        return self._parameters(self._config.name(part, number), has_bias=part not in self._config.unbiased)

    def _parameters(self, name: str, *, has_bias: bool) -> tuple[Tensor, Tensor | None]:
        return self._tensor(name + ".weight"), self._tensor(name + ".bias") if has_bias else None

    def _tensor(self, name: str) -> Tensor:
        """Return a parameter in the dtype to compute with: where the file has it so, it stays mapped on a CPU."""
        return self._weights.get(name).to(self._device, self._dtype)
