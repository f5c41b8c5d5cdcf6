"""Real implementers of the seam that need no model: they count words, exactly and at once."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from rerank_core.errors import RerankError
from rerank_core.inputs import as_pairs, score_options
from rerank_core.models.scoring import distinct_segments, to_scores
from rerank_core.scorer import Output
from rerank_core.testing.word_tokenizer import SEPARATOR, WordTokenizer
from rerank_core.text.pair_tokenizers import CrossEncoderTokenizer
from rerank_core.text.windows import window_score
from rerank_core.types import (
    Calibration,
    Encoding,
    LongDocuments,
    ModelInfo,
    Pair,
    ScoreOptions,
    Scores,
    Segment,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class OverlapModel:
    """A ``Scorer``, an ``AsyncScorer`` and a ``PairModel`` whose logit grows with the words a document shares.

    A word is a token; everything else, from truncation to windows, is a real cross-encoder's. ``forwards`` lists how
    many segments each forward pass had. ``gate`` may be cleared to hold forward passes until it is set again;
    ``started`` is set when one begins. ``fail_next`` makes the next one fail.
    """

    def __init__(
        self,
        *,
        name: str = "overlap",
        max_length: int = 64,
        long_documents: LongDocuments = "truncate",
        calibration: Calibration | None = None,
    ) -> None:
        self._info = ModelInfo(
            name=name, engine="overlap", engine_reason="a test double", device="cpu", dtype="float32",
            max_length=max_length, long_documents=long_documents, calibration=calibration,
        )  # fmt: skip
        self._tokenizer = CrossEncoderTokenizer(
            cast("Tokenizer", WordTokenizer()),
            max_length=max_length,
            truncation="longest_first",
            has_type_ids=False,
            long_documents=long_documents,
        )
        self.forwards: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.fail_next: Exception | None = None

    def forget(self) -> None:
        """Forget the forward passes that went before a test, such as a warm-up."""
        self.forwards.clear()
        self.started.clear()

    @property
    def info(self) -> ModelInfo:
        """A description of the model, and of how it runs here."""
        return self._info

    @property
    def batch_tokens(self) -> int:
        """A small number, so that a few documents make several batches."""
        return 2 * self._info.max_length

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """See ``Scorer.score``."""
        options = score_options(options, raw=raw, truncate=truncate)
        encodings = self.tokenize(as_pairs(query, documents), options)
        segments = distinct_segments(encodings)
        return to_scores(self, encodings, dict(zip(segments, self.forward(segments), strict=True)), options)

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """See ``AsyncScorer.ascore``."""
        return self.score(query, documents, raw=raw, truncate=truncate, options=options)

    def tokenize(self, pairs: Sequence[Pair], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``PairModel.tokenize``."""
        return self._tokenizer(pairs, options, first)

    def forward(self, segments: Sequence[Segment]) -> list[Output]:
        """See ``PairModel.forward``."""
        self.started.set()
        self.gate.wait()
        self.forwards.append(len(segments))
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        return [_logit(segment) for segment in segments]

    def combine(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> tuple[float, int]:
        """Return the logit; of a long document its windows' logits together."""
        return window_score(outputs, options)

    def fingerprint(self) -> str:
        """Return its name and length: nothing else decides its scores."""
        return f"{self._info.name} {self._info.max_length}"


class FailingScorer:
    """A ``Scorer`` and an ``AsyncScorer`` that always fails in the same way."""

    def __init__(self, error: RerankError) -> None:
        self._error = error

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Raise the error that it was made with."""
        raise self._error

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Raise the error that it was made with."""
        raise self._error


def _logit(segment: Segment) -> float:
    ids = array("i", segment.token_ids).tolist()
    middle = ids.index(SEPARATOR)
    query, document = set(ids[:middle]), ids[middle + 1 :]
    shared = len(query.intersection(document))
    return 2.0 * shared - 1.0 - len(document) / 128
