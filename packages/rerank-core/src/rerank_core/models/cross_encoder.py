"""The cross-encoder: query and document go through the network together, the head says one logit or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rerank_core.checkpoints.labels import HeadColumns
from rerank_core.forking import running
from rerank_core.models.local import LocalModel
from rerank_core.text.windows import window_score
from rerank_core.types import Encoding, ModelInfo, Pair, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.engines.base import Engine
    from rerank_core.text.pair_tokenizers import CrossEncoderTokenizer


class CrossEncoder(LocalModel):
    """Raw score: the logit of the head's label, or the difference of two logits."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: CrossEncoderTokenizer,
        info: ModelInfo,
        fingerprint: Callable[[], str],
        *,
        columns: HeadColumns = HeadColumns(0),  # noqa: B008 (frozen)
        reload: partial[LocalModel] | None = None,
    ) -> None:
        super().__init__(engine, info, fingerprint, reload=reload)
        self._tokenizer = tokenizer
        self._columns = columns

    def tokenize(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``PairModel.tokenize``."""
        with running():
            return self._tokenizer(pairs, options, first)

    def _outputs(self, rows: NDArray[np.float32]) -> list[float]:
        logits = rows[:, self._columns.label].astype("float64")
        if self._columns.against is not None:
            logits -= rows[:, self._columns.against]
        values: list[float] = logits.tolist()
        return values

    def combine(self, encoding: Encoding, outputs: Sequence[float], options: ScoreOptions) -> tuple[float, int]:
        """Return the logit; of a long document its windows' logits together."""
        return window_score(outputs, options)
