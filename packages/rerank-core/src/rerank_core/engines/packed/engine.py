"""The packed engine: sequences of a batch are laid end to end, and the network runs over them without padding."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.engines.base import Batch
from rerank_core.engines.failures import translates_failures
from rerank_core.engines.hardware.devices import with_number
from rerank_core.engines.hardware.memory import release_memory
from rerank_core.engines.packed import graphs
from rerank_core.engines.packed.builder import Builder
from rerank_core.engines.packed.decoder_builder import DecoderBuilder
from rerank_core.engines.packed.decoder_config import DecoderConfig, is_decoder, read_decoder_config
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.encoder_config import EncoderConfig, read_encoder_config
from rerank_core.engines.packed.graphs import PassGraphs
from rerank_core.engines.packed.network import DecoderNetwork, EncoderNetwork, Network
from rerank_core.engines.packed.ops.linear import Linear
from rerank_core.engines.packed.prefixes import ID_BYTES, PrefixKeysValues, token_count
from rerank_core.engines.packed.quantization.float16 import to_float16_weights
from rerank_core.engines.packed.quantization.int8 import to_int8
from rerank_core.engines.packed.quantization.quantize import ObservedLinear
from rerank_core.engines.packed.steps import steps
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.prefix_store import Prefix, PrefixStore
from rerank_core.engines.target import Target
from rerank_core.engines.workers import WorkerPool, balanced, in_own_thread
from rerank_core.forking import PerProcess
from rerank_core.types import TokenSequence

# When memory is given back. To have it anew costs less than a hundredth of a batch of a wide model, but a few
# hundredths of a narrow one's: that waits until each worker has computed so many tokens.
_WIDE = 1024
_TOKENS_BETWEEN = 10_240

# Keys and values of prefixes: of all that are kept between batches, and of those in one step of a batch. A token of
# Qwen3-Reranker-0.6B has 229,376 bytes in float32 (28 layers, 2 * 1024 numbers of 4 bytes): so many are 2,340 tokens.
_PREFIX_BYTES = 512 * 2**20

# A step of a batch on a device has at most so many batches' tokens in whole sequences: the one kernel there reads keys
# and values end to end, a shared prefix again before each sequence, while the cost of a batch counts it once.
_JOINED_BATCHES = 16

_FIRST = Batch.of([TokenSequence.of([0] * 8)])  # any tokens do

# Products on a CPU that are float32 until calibration texts have shown what goes into them.
QUANTIZED: dict[str, Callable[[ObservedLinear], Linear]] = {"float16-weights": to_float16_weights, "int8": to_int8}


@dataclass(frozen=True, slots=True)
class PackedPlan:
    """A checkpoint of a known architecture, whose parameters are as its configuration says."""

    checkpoint: Checkpoint
    target: Target
    weights: Weights
    config: EncoderConfig | DecoderConfig

    def load(self, calibration_batch: Batch, *, trust_remote_code: bool) -> PackedEngine:
        """See ``Plan.load``. The weights stay mapped where they can; no code of a checkpoint is run."""
        device = with_number(self.target.device)
        return in_own_thread(lambda: self._load(device, calibration_batch))

    def _load(self, device: str, calibration_batch: Batch) -> PackedEngine:
        dtype = self.target.dtype
        with torch.inference_mode():
            network = self._network(device)
            if dtype in QUANTIZED:
                network = network.quantized(calibration_batch, QUANTIZED[dtype])
        release_memory()  # what it took to get here: the weights in float32, say
        return PackedEngine(network, device=device)

    def _network(self, device: str) -> Network:
        described, root, dtype = self.checkpoint.head, self.checkpoint.root, self.target.dtype
        if isinstance(self.config, DecoderConfig):
            build_decoder = DecoderBuilder(self.weights, self.config, device=device, dtype=dtype)
            return DecoderNetwork(
                build_decoder.decoder(), build_decoder.head(described, root), device, self.config.padding
            )
        build = Builder(self.weights, self.config, device=device, dtype=dtype)
        head, first_only = build.head(described, root)
        network = EncoderNetwork(build.encoder(first_only=first_only), head, device, self.config.padding)
        if not (class_of(device).replays_graphs and network.is_kernels_only):
            return network
        return replace(network, graphs=PassGraphs(network.compute, device, graphs.capture_on(device)))


class PackedEngine:
    """Runs a network and its head over packed batches. Each worker (a CPU has several) takes whole sequences."""

    name: ClassVar[str] = "packed"

    def __init__(self, network: Network, *, device: str) -> None:
        self.device = device
        self._network = network
        self._hidden = network.hidden  # asked here: no tensor is, in a caller's thread and mode
        # A child would never free what its parent's threads hold: it has a store of its own.
        self._prefixes = PerProcess(lambda: PrefixStore[PrefixKeysValues](_PREFIX_BYTES))
        self._tokens_since = 0  # memory was given back
        self._worker_count = torch.get_num_threads() if class_of(device).workers_are_threads else 1
        # No method: the workers would hold the engine, as it holds them.
        self._workers = WorkerPool(self._worker_count, warm_up=lambda: network.rows(_FIRST, [0], [None]))

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> PackedPlan:
        """See ``Engine.plan``."""
        weights = Weights(checkpoint)
        read = read_decoder_config if is_decoder(checkpoint) else read_encoder_config
        return PackedPlan(checkpoint, target, weights, read(checkpoint, weights))

    @property
    def batch_tokens(self) -> int:
        """Enough for every worker; or for the device."""
        return class_of(self.device).worker_tokens * self._worker_count

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """See ``Engine.cost``."""
        tokens, prefixes = 0, set()
        for sequence in sequences:
            shared = self._network.prefix_length(len(sequence), sequence.prefix)
            tokens += len(sequence) - shared
            prefixes.add(sequence.token_ids[: shared * ID_BYTES])
        return tokens + sum(map(token_count, prefixes))

    @translates_failures
    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``. In each step, first the prefixes, each in one worker, then the sequences behind."""
        try:
            rows = self._rows(batch)
        except BaseException:
            self._prefixes.get().clear()  # memory may be short
            raise
        if self.device == "cpu":
            self._give_back(len(batch.token_ids))
        return rows

    def _rows(self, batch: Batch) -> NDArray[np.float32]:
        ids, lengths = self._network.prefixes(batch), batch.lengths.tolist()
        prefixes = list(zip(batch.shared, ids, strict=True))
        divided = steps(
            prefixes,
            [token_count(prefix) * self._network.token_bytes for prefix in ids],
            lengths,
            max_bytes=_PREFIX_BYTES,
            max_tokens=sys.maxsize if self.device == "cpu" else _JOINED_BATCHES * self.batch_tokens,
        )
        rows: list[NDArray[np.float32]] = []
        order: list[int] = []
        for step in divided:
            behind = [lengths[index] - token_count(ids[index]) for index in step]
            # As in the step, sequences of one prefix lie side by side, so that it is laid before them once.
            parts = [[step[place] for place in sorted(part)] for part in balanced(behind, self._worker_count)]
            rows += self._rows_of(batch, parts, prefixes)
            order += [index for part in parts for index in part]
        result: NDArray[np.float32] = np.concatenate(rows)[np.argsort(order)]
        return result

    def _rows_of(
        self, batch: Batch, parts: Sequence[Sequence[int]], prefixes: Sequence[Prefix]
    ) -> list[NDArray[np.float32]]:
        """Compute the rows of a step, dealt to the workers."""
        wanted = [prefixes[index] for part in parts for index in part]
        computed = self._prefixes.get().states(wanted, self._keys_values)
        rows = self._workers.map(
            lambda part: self._network.rows(batch, part, [computed.get(prefixes[index]) for index in part]), parts
        )
        computed.clear()  # now: a worker may hold its last call for a moment, and the next step needs the room
        return rows

    def _keys_values(self, prefixes: Sequence[bytes]) -> list[PrefixKeysValues]:
        """Compute what prefixes leave for the sequences behind them."""
        parts = balanced([token_count(prefix) for prefix in prefixes], self._worker_count)
        computed = self._workers.map(lambda part: self._network.keys_values([prefixes[index] for index in part]), parts)
        found = {
            index: state
            for part, states in zip(parts, computed, strict=True)
            for index, state in zip(part, states, strict=True)
        }
        return [found[index] for index in range(len(prefixes))]

    def _give_back(self, tokens: int) -> None:
        self._tokens_since += tokens
        if self._hidden >= _WIDE or self._tokens_since >= _TOKENS_BETWEEN * self._worker_count:
            release_memory()
            self._tokens_since = 0
