"""Real implementers of the seam that need no model: they count words, exactly and at once."""

from __future__ import annotations

import re
import threading
import zlib
from array import array
from collections.abc import Iterable, Sequence

from rerank_core.errors import InputTooLong, InvalidRequest, RerankError
from rerank_core.inputs import as_pairs, score_options
from rerank_core.models.scoring import distinct_segments, to_scores
from rerank_core.scorer import Output
from rerank_core.text.truncation import cut, kept_lengths
from rerank_core.text.windows import chunk_score, query_room, sentence_ends, span, windows
from rerank_core.types import (
    Calibration,
    Encoding,
    LongDocuments,
    ModelInfo,
    Pair,
    ScoreOptions,
    Scores,
    Segment,
    Span,
)

_SEPARATOR = 0  # between query and document; no word has this id


class OverlapModel:
    """A ``Scorer``, an ``AsyncScorer`` and a ``PairModel`` whose logit grows with the words a document shares.

    A word is a token. ``forwards`` lists how many segments each forward pass had. ``gate`` may be cleared to hold
    forward passes until it is set again; ``started`` is set when one begins. ``fail_next`` makes the next one fail.
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
        self.forwards: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.fail_next: Exception | None = None

    def forget(self) -> None:
        """As if no forward pass had been: of what went before a test, such as a warm-up."""
        self.forwards.clear()
        self.started.clear()

    @property
    def info(self) -> ModelInfo:
        """What runs here."""
        return self._info

    @property
    def batch_tokens(self) -> int:
        """Small, so that a few documents make several batches."""
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
        return [self._encode(index, pair, options) for index, pair in enumerate(pairs, first)]

    def _encode(self, index: int, pair: Pair, options: ScoreOptions) -> Encoding:
        side = options.truncation_side
        query, document = _words(pair.query), _words(pair.document)
        lengths = len(query), len(document)
        query = cut(query, options.max_query_tokens, side)
        document = cut(document, options.max_document_tokens, side)
        room = self._room(options)
        if options.windows(self._info.long_documents):
            if len(query) + len(document) > room:
                return self._encode_windows(index, pair, options)
            whole = (Span(0, len(pair.document)),)
        else:
            whole = None
        if len(query) + len(document) > room and not options.truncate:
            raise InputTooLong(
                f"document {index} has {len(query) + len(document) + 1} tokens together with its query, "
                f"the model reads {room + 1}: shorten it, or send truncate=true"
            )
        kept = kept_lengths(len(query), len(document), room, options.truncation or "longest_first")
        segment = Segment.of([*cut(query, kept[0], side), _SEPARATOR, *cut(document, kept[1], side)])
        return Encoding(index, (segment,), truncated=kept != lengths, spans=whole)

    def _room(self, options: ScoreOptions) -> int:
        """As ``Template.room`` has it, with one special token."""
        wanted, limit = options.max_length, self._info.max_length
        if wanted is None:
            return limit - 1
        if not 5 <= wanted <= limit:
            raise InvalidRequest(
                f"{wanted} tokens are asked for at once, the model reads {limit}: ask for 5 to {limit}"
            )
        return wanted - 1

    def _encode_windows(self, index: int, pair: Pair, options: ScoreOptions) -> Encoding:
        """As a cross-encoder does it, with words for tokens."""
        room = self._room(options)
        query = cut(_words(pair.query), options.max_query_tokens, options.truncation_side)
        query = cut(query, query_room(len(query), room), options.truncation_side)
        document = _words(pair.document)
        offsets = [match.span() for match in re.finditer(r"\S+", pair.document)]
        found = windows(len(document), room - len(query), options.overlap_tokens, sentence_ends(pair.document, offsets))
        chosen = found[: options.max_chunks]
        return Encoding(
            index,
            tuple(Segment.of([*query, _SEPARATOR, *document[part.start : part.stop]]) for part in chosen),
            truncated=len(chosen) < len(found),
            spans=tuple(span(offsets, part) for part in chosen),
        )

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
        """The logit, of a long document its windows' together."""
        return chunk_score(outputs, options)

    def fingerprint(self) -> str:
        """Its name and length: nothing else decides its scores."""
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
        """Raises what it was made with."""
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
        """Raises what it was made with."""
        raise self._error


def _words(text: str) -> Sequence[int]:
    return [zlib.crc32(word.strip(".,;:!?").lower().encode()) % 2**30 + 1 for word in text.split()]


def _logit(segment: Segment) -> float:
    ids = array("i", segment.token_ids).tolist()
    middle = ids.index(_SEPARATOR)
    query, document = set(ids[:middle]), ids[middle + 1 :]
    shared = len(query.intersection(document))
    return 2.0 * shared - 1.0 - len(document) / 128
