"""The engine seam: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.engines.target import Target
from rerank_core.types import SharedPrefix, TokenSequence


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences laid end to end, without padding.

    ``token_ids``: int32 [tokens]; ``type_ids``: the same, or None for a model without token types; ``lengths``:
    int64 [sequences], which sum up to the tokens. ``prefixes``: int64 [sequences], see ``TokenSequence.prefix``.
    ``shared``: the shared prefix of each sequence, None where no later batch has one with the same prefix.
    """

    token_ids: NDArray[np.int32]
    type_ids: NDArray[np.int32] | None
    lengths: NDArray[np.int64]
    prefixes: NDArray[np.int64]
    shared: tuple[SharedPrefix | None, ...]

    @classmethod
    def of(cls, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> Batch:
        """Lay sequences end to end."""
        type_ids = b"".join(sequence.type_ids for sequence in sequences)
        return cls(
            np.frombuffer(b"".join(sequence.token_ids for sequence in sequences), dtype=np.int32),
            np.frombuffer(type_ids, dtype=np.int32) if type_ids else None,
            np.array([len(sequence) for sequence in sequences], dtype=np.int64),
            np.array([sequence.prefix for sequence in sequences], dtype=np.int64),
            tuple(shared) or (None,) * len(sequences),
        )


class Plan(Protocol):
    """What an engine has found out about a checkpoint that it runs; loading does not look again."""

    def load(self, calibration_batch: Batch, *, trust_remote_code: bool) -> Engine:
        """Read the weights. Raises ``CheckpointError`` where they are not what the configuration promises.

        ``calibration_batch``: ordinary text, on which an engine of fewer bits sees what goes into its products.
        """
        ...


class Engine(Protocol):
    """Runs the network of one checkpoint. Knows arrays, not text."""

    name: ClassVar[str]
    device: str

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> Plan:
        """Find out how to run a checkpoint. Raises ``Unsupported`` where this engine does not."""
        ...

    @property
    def batch_tokens(self) -> int:
        """The cost that a batch should have, for the best speed."""
        ...

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """Count the tokens that this engine computes. A shared prefix counts once, every other token each time.

        Equal sequences count each, so that ``cost([one, one]) - cost([one])`` is the cost of one beside another that
        has its prefix.
        """
        ...

    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """Compute one row a sequence: a cross-encoder's logits [sequences, labels], or embeddings [sequences, hidden].

        A row depends on its own sequence only. An engine that shares prefixes computes each once for many sequences of
        the batch, and may keep it as long as its ``SharedPrefix`` lives.

        Raises ``OutOfMemory`` where a smaller batch may go through, ``DeviceError`` where only a new process helps, and
        ``EngineError`` for every other failure.
        """
        ...
