"""Padding-free: the segments of a batch are laid end to end, and the encoder runs over them without a mask."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerank_core.checkpoint import Checkpoint
from rerank_core.engines.base import Batch
from rerank_core.engines.encoder import Embeddings, Encoder, LastLayer, Layer, Norm, Run
from rerank_core.engines.families import Plan, Unsupported, classifier_activation, plan_of
from rerank_core.engines.heads import ClassificationHead, FirstToken, Head, MeanPooling
from rerank_core.engines.lanes import Lanes, balanced
from rerank_core.engines.linear import MIN_ROWS, FloatLinear, Linear
from rerank_core.engines.weights import Weights
from rerank_core.types import Segment

# Products are at the machine's rate from about so many rows on; more would only make other requests wait longer.
_LANE_TOKENS = 1024

_FIRST = Batch.of([Segment.of([0] * 8)])  # any tokens do


class PackedEngine:
    """The encoder and its head over packed batches; each lane takes whole segments."""

    name: ClassVar[str] = "packed"

    def __init__(self, encoder: Encoder, head: Head, *, padding: int | None) -> None:
        self._encoder = encoder
        self._head = head
        self._padding = padding
        self._lane_count = torch.get_num_threads()
        self._lanes = Lanes(self._lane_count, first=lambda: self._lane(_FIRST, [0]))

    @classmethod
    def refusal(cls, checkpoint: Checkpoint, *, device: str) -> str | None:
        """See ``Engine.refusal``."""
        if device != "cpu":
            return f"it runs on a CPU, not on {device}"
        try:
            plan_of(checkpoint, Weights(checkpoint))
        except Unsupported as unsupported:
            return str(unsupported)
        return None

    @classmethod
    def load(cls, checkpoint: Checkpoint, *, device: str, dtype: str, trust_remote_code: bool) -> PackedEngine:
        """Map the weights of a checkpoint that it does not refuse."""
        weights = Weights(checkpoint)
        plan = plan_of(checkpoint, weights)
        with torch.inference_mode():
            build = _Builder(weights, plan)
            head, first_only = build.head(checkpoint)
            return cls(build.encoder(first_only=first_only), head, padding=plan.padding)

    @property
    def batch_tokens(self) -> int:
        """Enough for every lane."""
        return _LANE_TOKENS * self._lane_count

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``."""
        parts = balanced(batch.lengths.tolist(), self._lane_count)
        rows = self._lanes.map(lambda part: self._lane(batch, part), parts)
        result = np.empty((len(batch.lengths), rows[0].shape[1]), dtype=np.float32)
        for part, row in zip(parts, rows, strict=True):
            result[part] = row
        return result

    @torch.inference_mode()
    def _lane(self, batch: Batch, segments: list[int]) -> NDArray[np.float32]:
        run = self._run(batch, segments)
        rows: NDArray[np.float32] = self._head(self._encoder(run), run).float().numpy()
        return rows

    def _run(self, batch: Batch, segments: list[int]) -> Run:
        ends = np.cumsum(batch.lengths)
        pieces = [slice(ends[segment] - batch.lengths[segment], ends[segment]) for segment in segments]
        words = [batch.token_ids[piece].astype(np.int64) for piece in pieces]
        types = None if batch.type_ids is None else [batch.type_ids[piece].astype(np.int64) for piece in pieces]
        return Run(
            words=_laid_out(words),
            positions=_laid_out([self._positions(ids) for ids in words]),
            types=None if types is None else _laid_out(types),
            bounds=[0, *np.cumsum(batch.lengths[segments]).tolist()],
        )

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions from 0; or behind the padding id, where a padding token has the padding's own."""
        if self._padding is None:
            return np.arange(len(ids), dtype=np.int64)
        real = (ids != self._padding).astype(np.int64)
        positions: NDArray[np.int64] = np.cumsum(real) * real + self._padding
        return positions


def _laid_out(parts: list[NDArray[np.int64]]) -> Tensor:
    """End to end, with zeros behind where there are fewer than ``MIN_ROWS``."""
    missing = MIN_ROWS - sum(len(part) for part in parts)
    return torch.from_numpy(np.concatenate([*parts, np.zeros(max(0, missing), dtype=np.int64)]))


class _Builder:
    """Puts the encoder and its head together from a checkpoint's parameters, in float32."""

    def __init__(self, weights: Weights, plan: Plan) -> None:
        self._weights = weights
        self._plan = plan

    def encoder(self, *, first_only: bool) -> Encoder:
        plan = self._plan
        count = plan.layers - 1 if first_only else plan.layers
        return Encoder(
            embeddings=Embeddings(
                words=self._weights.get(plan.name("words") + ".weight"),
                positions=self._tensor(plan.name("positions") + ".weight"),
                types=self._tensor(plan.name("types") + ".weight") if plan.has_types else None,
                norm=self._norm(plan.name("norm")),
                projection=self._linear(plan.name("projection")) if plan.has_projection else None,
            ),
            layers=tuple(self._layer(number) for number in range(count)),
            heads=plan.heads,
            activation=plan.activation,
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
            weight=self._tensor(names.projection + ".weight"),
            bias=self._tensor(names.projection + ".bias"),
        )
        return head, True

    def _layer(self, number: int) -> Layer:
        name = self._plan.name
        parts = [name(part, number) for part in ("query", "key", "value")]
        return Layer(
            qkv=FloatLinear(
                torch.cat([self._tensor(part + ".weight") for part in parts]),
                torch.cat([self._tensor(part + ".bias") for part in parts]),
            ),
            attention_out=self._linear(name("attention_out", number)),
            attention_norm=self._norm(name("attention_norm", number)),
            up=self._linear(name("up", number)),
            down=self._linear(name("down", number)),
            norm=self._norm(name("layer_norm", number)),
        )

    def _last_layer(self, number: int) -> LastLayer:
        name, heads = self._plan.name, self._plan.heads
        key = self._tensor(name("key", number) + ".weight")
        value = self._tensor(name("value", number) + ".weight")
        return LastLayer(
            query=self._linear(name("query", number)),
            key=key.view(heads, -1, key.shape[1]),
            value=value.view(heads, -1, value.shape[1]),
            value_bias=self._tensor(name("value", number) + ".bias"),
            attention_out=self._linear(name("attention_out", number)),
            attention_norm=self._norm(name("attention_norm", number)),
            up=self._linear(name("up", number)),
            down=self._linear(name("down", number)),
            norm=self._norm(name("layer_norm", number)),
        )

    def _linear(self, name: str) -> Linear:
        return FloatLinear(self._tensor(name + ".weight"), self._tensor(name + ".bias"))

    def _norm(self, name: str) -> Norm:
        return Norm(self._tensor(name + ".weight"), self._tensor(name + ".bias"), self._plan.epsilon)

    def _tensor(self, name: str) -> Tensor:
        """In float32: where the file has it so, it stays mapped."""
        return self._weights.get(name).float()
