"""Real implementers of the seam that need no model: they count words, exactly and at once."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Unpack, cast

from rerank_core.errors import RerankError
from rerank_core.inputs import DeprecatedOptions, as_pairs, check_instruction, instruction_of, score_options
from rerank_core.models.cross_encoder import CrossEncoder
from rerank_core.models.highlighting import highlight
from rerank_core.models.scoring import distinct_sequences, to_scores
from rerank_core.pairs import encode_pairs
from rerank_core.scorer import Output
from rerank_core.testing.word_tokenizer import SEPARATOR, WordTokenizer
from rerank_core.text.pair_tokenizers import CrossEncoderTokenizer
from rerank_core.types import (
    Calibration,
    Encoding,
    LongDocuments,
    ModelInfo,
    Pair,
    Scored,
    ScoreOptions,
    Scores,
    SharedPrefix,
    TokenSequence,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class OverlapModel:
    """A ``Scorer``, an ``AsyncScorer`` and a ``StepwiseModel`` whose logit grows with the words a document shares.

    A word is a token; everything else, from truncation to windows, is a real cross-encoder's. ``forwards`` lists how
    many sequences each forward pass had. ``gate`` may be cleared to hold forward passes until it is set again;
    ``started`` is set when one begins. ``fail_next`` makes the next one fail.

    With ``takes_instruction`` the words of the instruction, by default those of ``instruction``, count as the query's.
    """

    def __init__(
        self,
        *,
        name: str = "overlap",
        max_length: int = 64,
        long_documents: LongDocuments = "truncate",
        calibration: Calibration | None = None,
        takes_instruction: bool = False,
        instruction: str | None = None,
    ) -> None:
        self._info = ModelInfo(
            name=name, engine="overlap", engine_reason="a test double", device="cpu", dtype="float32",
            max_length=max_length, long_documents=long_documents, calibration=calibration,
            takes_instruction=takes_instruction, instruction=instruction,
        )  # fmt: skip
        tokenizer = CrossEncoderTokenizer(
            cast("Tokenizer", WordTokenizer()),
            max_length=max_length,
            truncation="longest_first",
            has_type_ids=False,
            long_documents=long_documents,
        )
        self._task = CrossEncoder(tokenizer)
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
    def independent(self) -> bool:
        """See ``StepwiseModel.independent``."""
        return True

    @property
    def batch_tokens(self) -> int:
        """A small number, so that a few documents make several batches."""
        return 2 * self._info.max_length

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """See ``Scorer.score``."""
        options, pairs = score_options(options, deprecated), as_pairs(query, documents)
        return highlight(self._score(pairs, options), pairs, options, self._score)

    def _score(self, pairs: Sequence[Pair], options: ScoreOptions) -> Scores:
        encodings = encode_pairs(self.encode, pairs, options)
        sequences = distinct_sequences(encodings)
        return to_scores(self, encodings, dict(zip(sequences, self.forward(sequences), strict=True)), options)

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """See ``AsyncScorer.ascore``."""
        return self.score(query, documents, score_options(options, deprecated))

    def encode(self, query: str, documents: Sequence[str], options: ScoreOptions, first: int = 0) -> list[Encoding]:
        """See ``StepwiseModel.encode``."""
        check_instruction(options, self._info)
        if instruction := instruction_of(options, self._info):
            query = f"{instruction} {query}"
        return self._task.encode(query, documents, options, first)

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """Return the number of tokens."""
        return sum(map(len, sequences))

    def forward(self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None] = ()) -> list[Output]:
        """See ``StepwiseModel.forward``."""
        self.started.set()
        self.gate.wait()
        self.forwards.append(len(sequences))
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        return [_logit(sequence) for sequence in sequences]

    def scores(self, encoding: Encoding, outputs: Sequence[Output], options: ScoreOptions) -> list[Scored]:
        """See ``StepwiseModel.scores``."""
        return self._task.scores(encoding, outputs, options)

    def fingerprint(self) -> str:
        """Return its name, length and default instruction: nothing else decides its scores."""
        return f"{self._info.name} {self._info.max_length} {self._info.instruction!r}"


class FailingScorer:
    """A ``Scorer`` and an ``AsyncScorer`` that always fails in the same way."""

    def __init__(self, error: RerankError) -> None:
        self._error = error

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Raise the error that it was made with."""
        raise self._error

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
    ) -> Scores:
        """Raise the error that it was made with."""
        raise self._error


def _logit(sequence: TokenSequence) -> float:
    ids = array("i", sequence.token_ids).tolist()
    middle = ids.index(SEPARATOR)
    query, document = set(ids[:middle]), ids[middle + 1 :]
    shared = len(query.intersection(document))
    return 2.0 * shared - 1.0 - len(document) / 128
