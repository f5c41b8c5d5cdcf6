"""The seam: protocols that every scorer satisfies.

``Scorer`` and ``AsyncScorer`` are all that integrations and callers need. ``PairModel`` is the same work taken in
steps, so that a scheduler can choose the batches in between.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rerank_core.types import Encoding, ModelInfo, Pair, ScoreOptions, Scores, Segment

Output: TypeAlias = Any
"""What the network says of one segment: meaningful only to the model that said it."""


@runtime_checkable
class Scorer(Protocol):
    """Says how well each document answers the query."""

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Return one score per document, in their order; an empty list of documents is an empty answer.

        ``documents`` may be any iterable with an order, and is read once.

        ``raw`` and ``truncate`` are the everyday part of ``options``; where both are given, ``raw=True`` and
        ``truncate=False`` win.

        Raises ``InvalidRequest`` for what cannot be scored, ``Unavailable`` for what may be scored later, and
        ``ModelError`` where the model fails.
        """
        ...


@runtime_checkable
class AsyncScorer(Protocol):
    """A `Scorer` that waits without holding the thread."""

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """As ``Scorer.score``."""
        ...


@runtime_checkable
class PairModel(Protocol):
    """A model taken in steps: tokenize, forward, combine.

    A score depends on its pair and the options only, however segments are dealt into batches.
    """

    @property
    def info(self) -> ModelInfo:
        """A description of the model, and of how it runs here."""
        ...

    @property
    def batch_tokens(self) -> int:
        """The number of tokens that one call of ``forward`` should have, for the best speed."""
        ...

    def tokenize(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return one encoding per pair, in their order; ``first`` is the first pair's position in its request.

        Safe to call from several threads. Raises ``InvalidRequest``.
        """
        ...

    def forward(self, segments: Sequence[Segment]) -> list[Output]:
        """Compute one output per segment, in their order. Raises ``EngineError``."""
        ...

    def fingerprint(self) -> str:
        """Hash all that decides this model's scores: the same in every process, and no other model's."""
        ...

    def combine(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> tuple[float, int]:
        """Return the raw score of an encoding from its segments' outputs, and the segment that it comes from."""
        ...
