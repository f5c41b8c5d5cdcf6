"""Puts the packed decoder and its head together from a checkpoint's parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from rerank_core.checkpoints.chain import PoolingMode
from rerank_core.checkpoints.heads import Head as DescribedHead
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.engines.chain import ChainLayers
from rerank_core.engines.packed import dtypes
from rerank_core.engines.packed.architectures.decoder import DecoderPooling
from rerank_core.engines.packed.decoder import Decoder, DecoderLayer, TokenEmbeddings
from rerank_core.engines.packed.decoder_config import (
    EMBEDDINGS,
    FINAL_NORM,
    HEAD_NORMS,
    NORMS,
    OUTPUT,
    PRODUCTS,
    SCORE,
    DecoderConfig,
)
from rerank_core.engines.packed.heads import (
    Head,
    Pool,
    Projection,
    Read,
    RightmostToken,
    first_of_all,
    largest,
    last_alone,
    last_token,
    mean,
)
from rerank_core.engines.packed.ops.activations import Gate
from rerank_core.engines.packed.ops.continued import ContinuedAttention, decoder_attention, window_of
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.ops.norm import FusedRMSNorm, RMSNorm
from rerank_core.engines.packed.ops.rotary import Rotary, frequencies, lowered
from rerank_core.engines.packed.ops.varlen import find_kernel
from rerank_core.engines.packed.weights import Weights

_Pooling: TypeAlias = DecoderPooling | Literal["max"]

_POOLINGS: dict[PoolingMode, _Pooling] = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
_READS_ONE: dict[_Pooling, Read] = {"cls": "first", "last": "last", "rightmost": "rightmost"}


class DecoderBuilder:
    """Puts the decoder and its head together from a checkpoint's parameters."""

    def __init__(self, weights: Weights, config: DecoderConfig, *, device: str, dtype: str) -> None:
        self._weights = weights
        self._config = config
        self._device = device
        self._wanted = dtype
        self._dtype, self._product = dtypes.numbers(device, dtype)
        intermediate = len(weights.get(f"{config.prefix}{PRODUCTS['up'][0].format(0)}.weight"))
        self._fused = dtypes.fused(device, config.hidden, config.head_width, intermediate)
        self._rounds = self._dtype == torch.float32 and dtype == "bfloat16"  # each product does, on a CPU
        self._attend = cache(self._attention)

    def decoder(self) -> Decoder:
        """Build the decoder."""
        config = self._config
        tokens = self._weights.get(f"{config.prefix}{EMBEDDINGS}.weight")
        scale = torch.tensor(config.hidden**0.5).to(self._device, self._dtype)
        return Decoder(
            embeddings=TokenEmbeddings(
                tokens=tokens if self._device == "cpu" else tokens.to(self._device, self._dtype),
                dtype=self._dtype,
                scale=scale if config.architecture.scales_embeddings else None,
            ),
            layers=tuple(self._layer(number) for number in range(config.layers)),
            key_heads=config.key_heads,
            head_width=config.head_width,
            rotary=self._rotary(),
            gated=Gate(config.activation, self._fused.gates.get(config.activation)),
            final_norm=self._norm(FINAL_NORM),
        )

    def head(self, described: DescribedHead, root: Path) -> Head:
        """Build the head. ``root`` holds the model's files."""
        config = self._config
        if isinstance(described, TokenLogits):
            row = self._output_row(described)[None]
            return self._head("last", (Projection(row, torch.zeros(1, device=self._device)),))
        if described.chain is not None:
            layers = ChainLayers(root, described.chain.layers, width=config.hidden, device=self._device)
            return self._head(_POOLINGS[described.chain.pooling], (layers,))
        weight = self._float32(f"{SCORE}.weight")
        bias = (
            self._float32(f"{SCORE}.bias") if config.has_score_bias else torch.zeros(len(weight), device=self._device)
        )
        projection = Projection(weight, bias)
        if config.temperature == 1:
            return self._head(config.pooling, (projection,))
        return self._head(config.pooling, (projection, partial(torch.div, other=config.temperature)))

    def _head(self, pooling: _Pooling, layers: tuple[Callable[[Tensor], Tensor], ...]) -> Head:
        """Build a head. Of a causal network of which it reads one token, the decoder computes no others."""
        if self._config.is_causal and pooling in _READS_ONE:
            return Head(last_alone, layers, _READS_ONE[pooling])
        pools: dict[_Pooling, Pool] = {
            "cls": first_of_all,
            "mean": mean,
            "max": largest,
            "last": last_token,
            "rightmost": RightmostToken(self._config.padding),
        }
        return Head(pools[pooling], layers)

    def _output_row(self, described: TokenLogits) -> Tensor:
        """Compute the output's row of the true token less that of the false one, in float32."""
        config = self._config
        name = f"{config.prefix}{EMBEDDINGS}.weight" if config.ties_embeddings else f"{OUTPUT}.weight"
        output = self._weights.get(name)
        row = output[described.true_id].float()
        if described.false_id is not None:
            row = row - output[described.false_id].float()
        return row.to(self._device)

    def _layer(self, number: int) -> DecoderLayer:
        window = self._config.windows[number]
        return DecoderLayer(
            query=self._linear("query", number),
            key=self._linear("key", number),
            value=self._linear("value", number),
            query_norm=self._head_norm("query_norm", number),
            key_norm=self._head_norm("key_norm", number),
            attend=self._attend(None if window is None or window >= self._config.positions else window - 1),
            attention_out=self._linear("attention_out", number),
            attention_norm=self._norm(NORMS["attention_norm"].format(number)),
            gate=self._linear("gate", number),
            up=self._linear("up", number),
            down=self._linear("down", number),
            norm=self._norm(NORMS["norm"].format(number)),
        )

    def _attention(self, reach: int | None) -> ContinuedAttention:
        config, kernel = self._config, None
        if dtypes.has_one_kernel(self._device, self._dtype):
            kernel = find_kernel(
                self._device,
                self._dtype,
                heads=config.heads,
                key_heads=config.key_heads,
                head_width=config.head_width,
                window=window_of(is_causal=config.is_causal, reach=reach),
            )
        if config.head_width % 32 == 0:
            own = dtypes.own_decoder_attention(
                self._device, self._wanted, config.hidden, is_causal=config.is_causal, reach=reach
            )
            if own is not None:
                return own
        return decoder_attention(
            is_causal=config.is_causal,
            reach=reach,
            positions=config.positions,
            device=self._device,
            dtype=self._dtype,
            kernel=kernel,
        )

    def _rotary(self) -> Rotary:
        config, waves = self._config, self._config.long_waves
        found = frequencies(config.theta, config.head_width)
        if waves is not None:
            found = lowered(found, factor=waves.factor, low=waves.low, high=waves.high, trained=waves.trained)
        return Rotary.of_frequencies(found, positions=config.positions, device=self._device, fused=self._fused.rotate)

    def _linear(self, part: str, number: int) -> Linear:
        name = self._config.prefix + PRODUCTS[part][0].format(number)
        weight = self._weights.get(f"{name}.weight")
        bias = self._tensor(f"{name}.bias") if self._config.has_bias(part) else None
        if self._rounds:
            return self._product(weight, bias)  # a weight that the file has so may stay mapped
        if self._device == "cpu" and self._dtype == torch.float32 != weight.dtype:
            return dtypes.widening_product()(weight, bias)
        return self._product(weight.to(self._device, self._dtype), bias)

    def _head_norm(self, part: str, number: int) -> RMSNorm | FusedRMSNorm | None:
        has_norms = self._config.architecture.normalizes_heads
        return self._norm(HEAD_NORMS[part].format(number)) if has_norms else None

    def _norm(self, name: str) -> RMSNorm | FusedRMSNorm:
        weight = self._float32(f"{self._config.prefix}{name}.weight")
        norm = RMSNorm(weight + self._config.architecture.norm_offset, self._config.epsilon)
        if self._fused.rms_norm is not None:
            return FusedRMSNorm(norm.weight, norm.epsilon, self._fused.rms_norm)
        return norm if self._device == "cpu" else norm.on_device(self._dtype)

    def _float32(self, name: str) -> Tensor:
        return self._weights.get(name).to(self._device, torch.float32)

    def _tensor(self, name: str) -> Tensor:
        """Return a parameter in the dtype to compute with: where the file has it so, it stays mapped on a CPU."""
        return self._weights.get(name).to(self._device, self._dtype)
