"""Padding-free: the segments of a batch are laid end to end, and the encoder runs over them without a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.engines.base import Batch
from rerank_core.engines.hardware import cpu_features
from rerank_core.engines.hardware.devices import with_number
from rerank_core.engines.hardware.memory import release_memory
from rerank_core.engines.packed.architectures import Plan, Unsupported, classifier_activation, plan_of
from rerank_core.engines.packed.encoder import (
    AbsorbedAttention,
    Embeddings,
    Encoder,
    LastAttention,
    LastLayer,
    Layer,
    Norm,
    Run,
    WholeAttention,
)
from rerank_core.engines.packed.heads import ClassificationHead, FirstToken, Head, MeanPooling
from rerank_core.engines.packed.ops.attention import Attention, Bounds, per_sequence, variable_length
from rerank_core.engines.packed.ops.linear import (
    BFloat16Linear,
    Float16WeightsLinear,
    FloatLinear,
    Linear,
    WidenedLinear,
    filled,
)
from rerank_core.engines.packed.quantization.int8 import in_int8
from rerank_core.engines.packed.quantization.quantize import Observed, rounded
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.workers import Lanes, balanced, in_own_thread
from rerank_core.types import Segment

# Products are at the machine's rate from about so many rows on; more would only make other requests wait longer.
_CPU_LANE_TOKENS = 1024
_MPS_TOKENS = 4096
_CUDA_TOKENS = 16384

# When memory is given back. To have it anew costs less than a hundredth of a batch of a wide model, but a few
# hundredths of a narrow one's: that waits until each lane has computed so many tokens.
_WIDE = 1024
_TOKENS_BETWEEN = 10 * _CPU_LANE_TOKENS

_FIRST = Batch.of([Segment.of([0] * 8)])  # any tokens do

# How the layers' products are computed on a CPU; everything else there is float32.
_CPU_PRODUCTS: dict[str, Callable[[Tensor, Tensor], Linear]] = {
    "float32": FloatLinear,
    "bfloat16": BFloat16Linear,
}
# Those that are float32 until a sample has shown what goes into them.
_ROUNDED: dict[str, Callable[[Observed], Linear]] = {
    "float16-weights": lambda seen: (WidenedLinear if cpu_features.widens_float16() else Float16WeightsLinear)(
        seen.linear.weight, seen.linear.bias, seen.mean
    ),
    "int8": lambda seen: in_int8(seen, levels=cpu_features.int8_levels()),
}


class PackedEngine:
    """The encoder and its head over packed batches. Each lane, of which a CPU has several, takes whole segments."""

    name: ClassVar[str] = "packed"

    def __init__(self, encoder: Encoder, head: Head, *, device: str, padding: int | None) -> None:
        self._device = device
        self._hidden = len((encoder.last or encoder.layers[0]).norm.weight)
        self._tokens_since = 0  # memory was given back
        self._lane_count = torch.get_num_threads() if device == "cpu" else 1
        # No method: the lanes would hold the engine, as it holds them.
        self._rows = rows = partial(_rows, encoder, head, device=device, padding=padding)
        self._lanes = Lanes(self._lane_count, first=lambda: rows(_FIRST, [0]))

    @classmethod
    def refusal(cls, checkpoint: Checkpoint, *, device: str, dtype: str) -> str | None:
        """See ``Engine.refusal``."""
        try:
            plan_of(checkpoint, Weights(checkpoint))
        except Unsupported as unsupported:
            return str(unsupported)
        return None

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, *, device: str, dtype: str, sample: Batch, trust_remote_code: bool
    ) -> PackedEngine:
        """Map the weights of a checkpoint that it does not refuse."""
        device = with_number(device)
        return in_own_thread(lambda: cls._load(checkpoint, device=device, dtype=dtype, sample=sample))

    @classmethod
    def _load(cls, checkpoint: Checkpoint, *, device: str, dtype: str, sample: Batch) -> PackedEngine:
        weights = Weights(checkpoint)
        plan = plan_of(checkpoint, weights)
        with torch.inference_mode():
            build = _Builder(weights, plan, device=device, dtype=dtype)
            head, first_only = build.head(checkpoint)
            encoder = build.encoder(first_only=first_only)
            if dtype in _ROUNDED:
                run = _run(sample, range(len(sample.lengths)), padding=plan.padding, device=device)
                encoder = rounded(encoder, run, _ROUNDED[dtype])
        release_memory()  # what it took to get here: the weights in float32, say
        return cls(encoder, head, device=device, padding=plan.padding)

    @property
    def batch_tokens(self) -> int:
        """Enough for every lane; or for the device."""
        if self._device == "cpu":
            return _CPU_LANE_TOKENS * self._lane_count
        return _MPS_TOKENS if self._device == "mps" else _CUDA_TOKENS

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``."""
        parts = balanced(batch.lengths.tolist(), self._lane_count)
        rows = self._lanes.map(lambda part: self._rows(batch, part), parts)
        if self._device == "cpu":
            self._give_back(len(batch.token_ids))
        result = np.empty((len(batch.lengths), rows[0].shape[1]), dtype=np.float32)
        for part, row in zip(parts, rows, strict=True):
            result[part] = row
        return result

    def _give_back(self, tokens: int) -> None:
        self._tokens_since += tokens
        if self._hidden >= _WIDE or self._tokens_since >= _TOKENS_BETWEEN * self._lane_count:
            release_memory()
            self._tokens_since = 0


@torch.inference_mode()
def _rows(
    encoder: Encoder, head: Head, batch: Batch, segments: Sequence[int], *, device: str, padding: int | None
) -> NDArray[np.float32]:
    run = _run(batch, segments, padding=padding, device=device)
    rows: NDArray[np.float32] = head(encoder(run), run).float().cpu().numpy()
    return rows


def _run(batch: Batch, segments: Sequence[int], *, padding: int | None, device: str) -> Run:
    """Some of a batch's segments, end to end, filled up; copied to the device in one piece."""
    ends = np.cumsum(batch.lengths)
    pieces = [slice(ends[segment] - batch.lengths[segment], ends[segment]) for segment in segments]
    places = [0, *np.cumsum(batch.lengths[list(segments)]).tolist()]
    ids = np.zeros((3, filled(places[-1])), dtype=np.int64)
    for start, piece in zip(places, pieces, strict=False):
        words = batch.token_ids[piece]
        here = slice(start, start + len(words))
        ids[0, here] = words
        ids[1, here] = _positions(words, padding)
        if batch.type_ids is not None:
            ids[2, here] = batch.type_ids[piece]
    words, positions, types = _on(device, ids)
    offsets = _on(device, np.array(places, dtype=np.int32))
    return Run(words, positions, None if batch.type_ids is None else types, Bounds(places, offsets))


def _positions(words: NDArray[np.int32], padding: int | None) -> NDArray[np.int64]:
    """Positions from 0; or behind the padding id, where a padding token has the padding's own."""
    if padding is None:
        return np.arange(len(words), dtype=np.int64)
    real = (words != padding).astype(np.int64)
    positions: NDArray[np.int64] = np.cumsum(real) * real + padding
    return positions


def _on(device: str, numbers: NDArray[np.generic]) -> Tensor:
    tensor = torch.from_numpy(numbers)
    if device.startswith("cuda"):  # from pinned memory the copy does not wait for what the device is doing
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _numbers(device: str, dtype: str) -> tuple[torch.dtype, Callable[[Tensor, Tensor], Linear]]:
    """What everything is computed in, and the layers' products."""
    return (
        (torch.float32, _CPU_PRODUCTS.get(dtype, FloatLinear))
        if device == "cpu"
        else (getattr(torch, dtype), FloatLinear)
    )


def _has_one_kernel(device: str, dtype: torch.dtype) -> bool:
    """Whether ``variable_length`` runs there."""
    there = device.startswith("cuda") and find_spec("torch.nn.attention.varlen") is not None
    return there and dtype in (torch.float16, torch.bfloat16)


class _Builder:
    """Puts the encoder and its head together from a checkpoint's parameters."""

    def __init__(self, weights: Weights, plan: Plan, *, device: str, dtype: str) -> None:
        self._weights = weights
        self._plan = plan
        self._device = device
        self._dtype, self._product = _numbers(device, dtype)
        self._one_kernel = _has_one_kernel(device, self._dtype)

    def encoder(self, *, first_only: bool) -> Encoder:
        plan = self._plan
        count = plan.layers - 1 if first_only else plan.layers
        words = self._weights.get(plan.name("words") + ".weight")
        attend: Attention = variable_length if self._one_kernel else per_sequence
        return Encoder(
            embeddings=Embeddings(
                words=words if self._device == "cpu" else words.to(self._device, self._dtype),
                positions=self._tensor(plan.name("positions") + ".weight"),
                types=self._tensor(plan.name("types") + ".weight") if plan.has_types else None,
                norm=self._norm(plan.name("norm")),
                projection=self._linear(plan.name("projection")) if plan.has_projection else None,
            ),
            layers=tuple(self._layer(number) for number in range(count)),
            heads=plan.heads,
            activation=plan.activation,
            attend=attend,
            last=self._last_layer(count) if first_only else None,
        )

    def head(self, checkpoint: Checkpoint) -> tuple[Head, bool]:
        """The head, and whether it reads first tokens only."""
        if checkpoint.kind == "bi-encoder":
            return (MeanPooling(), False) if checkpoint.pooling == "mean" else (FirstToken(), True)
        names = self._plan.family.classifier
        head = ClassificationHead(
            dense=self._linear(names.dense),
            activation=classifier_activation(self._plan.family),
            weight=self._tensor(names.projection + ".weight").float(),
            bias=self._tensor(names.projection + ".bias").float(),
        )
        return head, True

    def _layer(self, number: int) -> Layer:
        def product(part: str) -> Linear:
            return self._product(*self._parameters(self._plan.name(part, number)))

        return Layer(
            qkv=self._product(*self._qkv(number)),
            attention_out=product("attention_out"),
            attention_norm=self._norm(self._plan.name("attention_norm", number)),
            up=product("up"),
            down=product("down"),
            norm=self._norm(self._plan.name("layer_norm", number)),
        )

    def _last_layer(self, number: int) -> LastLayer:
        name = self._plan.name
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
        name, heads = self._plan.name, self._plan.heads
        key, _ = self._parameters(name("key", number))
        value, value_bias = self._parameters(name("value", number))
        return AbsorbedAttention(
            query=self._linear(name("query", number)),
            key=key.view(heads, -1, key.shape[1]),
            value=value.view(heads, -1, value.shape[1]),
            value_bias=value_bias,
        )

    def _qkv(self, number: int) -> tuple[Tensor, Tensor]:
        """Query, key and value side by side."""
        parts = [self._parameters(self._plan.name(part, number)) for part in ("query", "key", "value")]
        return torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])

    def _linear(self, name: str) -> Linear:
        return FloatLinear(*self._parameters(name))

    def _parameters(self, name: str) -> tuple[Tensor, Tensor]:
        return self._tensor(name + ".weight"), self._tensor(name + ".bias")

    def _norm(self, name: str) -> Norm:
        return Norm(*self._parameters(name), self._plan.epsilon)

    def _tensor(self, name: str) -> Tensor:
        """In the type to compute with: where the file has it so, it stays mapped on a CPU."""
        return self._weights.get(name).to(self._device, self._dtype)
