"""The packed engine: sequences of a batch are laid end to end, and the encoder runs over them without a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.engines.base import Batch
from rerank_core.engines.failures import translates_failures
from rerank_core.engines.hardware.devices import with_number
from rerank_core.engines.hardware.memory import release_memory
from rerank_core.engines.packed.builder import Builder
from rerank_core.engines.packed.encoder import Encoder, PackedSequences
from rerank_core.engines.packed.encoder_config import EncoderConfig, read_encoder_config
from rerank_core.engines.packed.heads import Head
from rerank_core.engines.packed.ops.attention import Bounds
from rerank_core.engines.packed.ops.linear import Linear, filled
from rerank_core.engines.packed.quantization.float16 import to_float16_weights
from rerank_core.engines.packed.quantization.int8 import to_int8
from rerank_core.engines.packed.quantization.quantize import ObservedLinear, quantize
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.target import Target
from rerank_core.engines.workers import WorkerPool, balanced, in_own_thread
from rerank_core.types import TokenSequence

# Products are at the machine's rate from about so many rows on; more would only make other requests wait longer.
_CPU_WORKER_TOKENS = 1024
_MPS_TOKENS = 4096
_CUDA_TOKENS = 16384

# When memory is given back. To have it anew costs less than a hundredth of a batch of a wide model, but a few
# hundredths of a narrow one's: that waits until each worker has computed so many tokens.
_WIDE = 1024
_TOKENS_BETWEEN = 10 * _CPU_WORKER_TOKENS

_FIRST = Batch.of([TokenSequence.of([0] * 8)])  # any tokens do

# Products on a CPU that are float32 until calibration texts have shown what goes into them.
QUANTIZED: dict[str, Callable[[ObservedLinear], Linear]] = {"float16-weights": to_float16_weights, "int8": to_int8}


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """A checkpoint of a known architecture, whose parameters are as its configuration says."""

    checkpoint: Checkpoint
    target: Target
    weights: Weights
    config: EncoderConfig

    def load(self, calibration_batch: Batch, *, trust_remote_code: bool) -> PackedEngine:
        """See ``Plan.load``. The weights stay mapped where they can; no code of a checkpoint is run."""
        device = with_number(self.target.device)
        return in_own_thread(lambda: self._load(device, calibration_batch))

    def _load(self, device: str, calibration_batch: Batch) -> PackedEngine:
        dtype, config = self.target.dtype, self.config
        with torch.inference_mode():
            build = Builder(self.weights, config, device=device, dtype=dtype)
            head, first_only = build.head(self.checkpoint.head, self.checkpoint.root)
            encoder = build.encoder(first_only=first_only)
            if dtype in QUANTIZED:
                packed = _packed(
                    calibration_batch, range(len(calibration_batch.lengths)), padding=config.padding, device=device
                )
                encoder = quantize(encoder, packed, QUANTIZED[dtype])
        release_memory()  # what it took to get here: the weights in float32, say
        return PackedEngine(encoder, head, device=device, padding=config.padding)


class PackedEngine:
    """Runs the encoder and its head over packed batches. Each worker (a CPU has several) takes whole sequences."""

    name: ClassVar[str] = "packed"

    def __init__(self, encoder: Encoder, head: Head, *, device: str, padding: int | None) -> None:
        self.device = device
        self._hidden = len((encoder.last or encoder.layers[0]).norm.weight)
        self._tokens_since = 0  # memory was given back
        self._worker_count = torch.get_num_threads() if device == "cpu" else 1
        # No method: the workers would hold the engine, as it holds them.
        self._rows = rows = partial(_rows, encoder, head, device=device, padding=padding)
        self._workers = WorkerPool(self._worker_count, warm_up=lambda: rows(_FIRST, [0]))

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> PackedPlan:
        """See ``Engine.plan``."""
        weights = Weights(checkpoint)
        return PackedPlan(checkpoint, target, weights, read_encoder_config(checkpoint, weights))

    @property
    def batch_tokens(self) -> int:
        """Enough for every worker; or for the device."""
        if self.device == "cpu":
            return _CPU_WORKER_TOKENS * self._worker_count
        return _MPS_TOKENS if self.device == "mps" else _CUDA_TOKENS

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """See ``Engine.cost``. No prefix is shared."""
        return sum(map(len, sequences))

    @translates_failures
    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``."""
        parts = balanced(batch.lengths.tolist(), self._worker_count)
        rows = self._workers.map(lambda part: self._rows(batch, part), parts)
        if self.device == "cpu":
            self._give_back(len(batch.token_ids))
        result = np.empty((len(batch.lengths), rows[0].shape[1]), dtype=np.float32)
        for part, row in zip(parts, rows, strict=True):
            result[part] = row
        return result

    def _give_back(self, tokens: int) -> None:
        self._tokens_since += tokens
        if self._hidden >= _WIDE or self._tokens_since >= _TOKENS_BETWEEN * self._worker_count:
            release_memory()
            self._tokens_since = 0


@torch.inference_mode()
def _rows(
    encoder: Encoder, head: Head, batch: Batch, sequences: Sequence[int], *, device: str, padding: int | None
) -> NDArray[np.float32]:
    packed = _packed(batch, sequences, padding=padding, device=device)
    rows: NDArray[np.float32] = head(encoder(packed), packed).float().cpu().numpy()
    return rows


def _packed(batch: Batch, sequences: Sequence[int], *, padding: int | None, device: str) -> PackedSequences:
    """Lay some of a batch's sequences end to end, fill them up, and copy them to the device in one piece."""
    ends = np.cumsum(batch.lengths)
    pieces = [slice(ends[index] - batch.lengths[index], ends[index]) for index in sequences]
    places = [0, *np.cumsum(batch.lengths[list(sequences)]).tolist()]
    ids = np.zeros((3, filled(places[-1])), dtype=np.int64)
    for start, piece in zip(places, pieces, strict=False):
        tokens = batch.token_ids[piece]
        here = slice(start, start + len(tokens))
        ids[0, here] = tokens
        ids[1, here] = _positions(tokens, padding)
        if batch.type_ids is not None:
            ids[2, here] = batch.type_ids[piece]
    token_ids, position_ids, type_ids = _on(device, ids)
    offsets = _on(device, np.array(places, dtype=np.int32))
    return PackedSequences(
        token_ids, position_ids, None if batch.type_ids is None else type_ids, Bounds(places, offsets)
    )


def _positions(tokens: NDArray[np.int32], padding: int | None) -> NDArray[np.int64]:
    """Number positions from 0, or behind the padding id, where a padding token has the padding's own."""
    if padding is None:
        return np.arange(len(tokens), dtype=np.int64)
    real = (tokens != padding).astype(np.int64)
    positions: NDArray[np.int64] = np.cumsum(real) * real + padding
    return positions


def _on(device: str, numbers: NDArray[np.generic]) -> Tensor:
    tensor = torch.from_numpy(numbers)
    if device.startswith("cuda"):  # from pinned memory the copy does not wait for what the device is doing
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
