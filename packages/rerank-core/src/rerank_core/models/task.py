"""A task: what a model makes of texts for its network, and of the network's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from rerank_core.scorer import Output
from rerank_core.types import Encoding, Pair, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Task(Protocol):
    """What a ``LocalModel`` is made for, such as a cross-encoder or a bi-encoder.

    ``independent``: a score depends on its own query and document only, so that documents may be split, deduplicated
    and kept.
    """

    independent: ClassVar[bool]

    def encode(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return one encoding per pair, in their order; ``first`` is the first pair's position in its request.

        Safe to call from several threads. Raises ``InvalidRequest``.
        """
        ...

    def outputs(self, rows: NDArray[np.float32]) -> list[Output]:
        """Return what to keep of the engine's rows, one output per row."""
        ...

    def combine(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> tuple[float, int]:
        """Return the raw score of an encoding from its outputs, and the position of the output that it comes from."""
        ...
