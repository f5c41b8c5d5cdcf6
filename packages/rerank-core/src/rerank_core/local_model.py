"""A model in this process: what a cross-encoder and a bi-encoder share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rerank_core.batching import micro_batches
from rerank_core.errors import EngineError, RerankError
from rerank_core.scorer import Output
from rerank_core.scoring import as_pairs, check_text, distinct_segments, score_options, to_scores
from rerank_core.types import Encoding, ModelInfo, Pair, ScoreOptions, Scores, Segment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.engines.base import Engine


class LocalModel(ABC):
    """A ``Scorer`` and a ``PairModel``. May be shared between threads: one forward pass runs at a time."""

    def __init__(self, engine: Engine, info: ModelInfo) -> None:
        self._engine = engine
        self._info = info
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """What runs here."""
        return self._info

    @property
    def batch_tokens(self) -> int:
        """How many tokens one call of ``forward`` should have."""
        return self._engine.batch_tokens

    def score(
        self,
        query: str,
        documents: Sequence[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """See ``Scorer.score``."""
        return self._score(as_pairs(query, documents), score_options(options, raw=raw, truncate=truncate))

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        """One score per pair, in their order; the pairs may have different queries. Raises as ``score``."""
        for index, (query, document) in enumerate(pairs):
            check_text(query, f"the query of pair {index}")
            check_text(document, f"document {index}")
        return self._score(pairs, options or ScoreOptions())

    def _score(self, pairs: Sequence[Pair], options: ScoreOptions) -> Scores:
        encodings = self.tokenize(pairs, options)
        # Longest first: the largest batch fails at once if memory is short, not an hour in.
        segments = sorted(distinct_segments(encodings), key=len, reverse=True)
        outputs: dict[Segment, Output] = {}
        for batch in micro_batches(segments, self.batch_tokens):
            outputs.update(zip(batch, self.forward(batch), strict=True))
        return to_scores(self, encodings, outputs, options)

    @abstractmethod
    def tokenize(self, pairs: Sequence[Pair], options: ScoreOptions) -> list[Encoding]:
        """See ``PairModel.tokenize``."""

    def forward(self, segments: Sequence[Segment]) -> list[Output]:
        """See ``PairModel.forward``."""
        from rerank_core.engines.base import Batch

        try:
            with self._lock:
                rows = self._engine.forward(Batch.of(segments))
        except RerankError:
            raise
        except Exception as error:  # an engine may fail in as many ways as its library
            tokens = sum(len(segment) for segment in segments)
            raise EngineError(
                f"the {self._engine.name} engine failed on {len(segments)} segments of {tokens} tokens "
                f"({type(error).__name__}: {error})"
            ) from error
        return self._outputs(rows)

    @abstractmethod
    def _outputs(self, rows: NDArray[np.float32]) -> list[Output]:
        """What to keep of the engine's rows."""

    @abstractmethod
    def combine(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> tuple[float, int]:
        """See ``PairModel.combine``."""
