"""The cross-encoder: query and document go through the network together, the head says one logit or two.

A language model is scored in the same way: its row is one number, the logit of its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rerank_core.checkpoints.labels import HeadColumns
from rerank_core.text.windows import window_score
from rerank_core.types import Encoding, Pair, Scored, ScoreOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.text.pair_tokenizers import CrossEncoderTokenizer
    from rerank_core.text.prompts import PromptTokenizer


class CrossEncoder:
    """Raw score: the logit of the head's label, or the difference of two logits."""

    independent: ClassVar[bool] = True

    def __init__(
        self,
        tokenizer: CrossEncoderTokenizer | PromptTokenizer,
        columns: HeadColumns = HeadColumns(0),
    ) -> None:
        self._tokenizer = tokenizer
        self._columns = columns

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``Task.encode``. A pair is one sequence; of a long document, one for each window."""
        return self._tokenizer([Pair(query, document) for document in documents], options, first)

    def outputs(self, rows: NDArray[np.float32]) -> list[float]:
        """Return the logits, or the differences of two."""
        logits = rows[:, self._columns.label].astype("float64")
        if self._columns.against is not None:
            logits -= rows[:, self._columns.against]
        values: list[float] = logits.tolist()
        return values

    def scores(self, encoding: Encoding, outputs: Sequence[float], options: ScoreOptions) -> list[Scored]:
        """Return the logit; of a long document its windows' logits together."""
        raw, winner = window_score(outputs, options)
        return [Scored(raw, encoding.spans[winner] if encoding.spans else None)]
