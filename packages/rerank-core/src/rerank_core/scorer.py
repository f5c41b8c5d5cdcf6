"""The seam: protocols that every scorer satisfies.

``Scorer`` and ``AsyncScorer`` are all that integrations and callers need. ``StepwiseModel`` is the same work in
steps, so that a scheduler can choose the batches in between.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from rerank_core.deprecation import renamed
from rerank_core.types import Encoding, ModelInfo, Scored, ScoreOptions, Scores, SharedPrefix, TokenSequence

Output: TypeAlias = Any
"""A model's output for one sequence: only the model that computed it can read it."""


@runtime_checkable
class Scorer(Protocol):
    """Says how well each document answers the query."""

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Return one score per document, in their order; an empty list of documents is an empty answer.

        ``documents`` may be any iterable with an order, and is read once.

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
        options: ScoreOptions | None = None,
    ) -> Scores:
        """As ``Scorer.score``."""
        ...


def is_independent(scorer: Scorer) -> bool:
    """Return whether a scorer scores documents one by one, as ``StepwiseModel.independent``; most do.

    Raises what the scorer raises, such as a client whose server cannot be reached.
    """
    return bool(getattr(scorer, "independent", True))


@runtime_checkable
class StepwiseModel(Protocol):
    """A model taken in steps: encode, forward, scores.

    A score depends on its pair and the options only, however sequences are dealt into batches; where the model is not
    ``independent``, on the other documents of the query too.
    """

    @property
    def info(self) -> ModelInfo:
        """A description of the model, and of how it runs here."""
        ...

    @property
    def independent(self) -> bool:
        """Whether documents are scored one by one, so that a request may be split, deduplicated and cached.

        Each encoding of such a model has one document.
        """
        ...

    @property
    def batch_tokens(self) -> int:
        """The cost that one call of ``forward`` should have, for the best speed."""
        ...

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """Return the encodings of one query's documents, in their order.

        ``first`` is the first document's position in its request. A model that is not ``independent`` gets all
        documents of a query at once. Safe to call from several threads. Raises ``InvalidRequest``.
        """
        ...

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """Return the cost of computing sequences, in tokens: at least 1 for each sequence.

        A prefix that several share counts once, where the engine computes it once.
        """
        ...

    def forward(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> list[Output]:
        """Compute one output per sequence, in their order. Raises ``EngineError``.

        ``shared``: the shared prefix of each sequence, held by the caller as long as it has others of the same prefix
        to compute in later calls; without it a prefix is shared within the call only.
        """
        ...

    def scores(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> list[Scored]:
        """Return one score for each of an encoding's documents, from its sequences' outputs."""
        ...

    def fingerprint(self) -> str:
        """Hash all that decides this model's scores: the same in every process, and no other model's."""
        ...


if not TYPE_CHECKING:  # a type checker would believe in every name

    def __getattr__(name: str) -> Any:
        return renamed(__name__, name, {"PairModel": StepwiseModel})
