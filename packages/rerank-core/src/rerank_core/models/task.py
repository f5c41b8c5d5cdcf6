"""A task turns texts into token sequences for a network, and the network's rows into scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from rerank_core.types import Encoding, Scored, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Output = TypeVar("Output")
"""What a task keeps of one row of the engine."""


class Task(Protocol[Output]):
    """The kind of a model: a cross-encoder, a bi-encoder, ..."""

    @property
    def independent(self) -> bool:
        """See ``StepwiseModel.independent``."""
        ...

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``StepwiseModel.encode``."""
        ...

    def outputs(self, rows: NDArray[np.float32]) -> list[Output]:
        """Return what to keep of the engine's rows, one output per row."""
        ...

    def scores(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> list[Scored]:
        """See ``StepwiseModel.scores``."""
        ...
