"""The service: it takes a request through admission, tokenization and the scheduler to its scores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, groupby, pairwise

from rerank_core.errors import DeadlineExceeded, RerankError
from rerank_core.models.batching import batch_order
from rerank_core.models.calibration_texts import CALIBRATION_TEXTS
from rerank_core.models.highlighting import (
    SentencePair,
    check_highlight,
    documents_to_highlight,
    sentence_options,
    sentence_pairs,
    with_sentences,
)
from rerank_core.models.scoring import distinct_sequences, to_scores
from rerank_core.pairs import encode_pairs, positions_by_query, reordered
from rerank_core.scorer import Output, StepwiseModel
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, TokenSequence

from rerank_server.inference.admission import (
    Admission,
    Reservation,
    estimated_sentence_tokens,
    estimated_tokens,
    prompt_tokens,
)
from rerank_server.inference.cache import CacheEntry, ScoreCache
from rerank_server.inference.progress import Progress
from rerank_server.inference.scheduler import BatchObserver, PendingScores, Scheduler
from rerank_server.inference.tokenizing import PendingTokens, TokenizeThread
from rerank_server.observability.request_record import RequestRecord

# The size of a batch that is tokenized at once, in some tens of milliseconds: a small request waits for one of them.
_BATCH_PAIRS = 64
_BATCH_CHARACTERS = 50_000
_CHARACTERS_SPLIT = 8  # characters that are divided into sentences in the time in which one is tokenized


def batch_bounds(pairs: Sequence[Pair], *, independent: bool = True) -> list[int]:
    """The positions at which the batches of a request begin, followed by its length.

    Pairs that are not ``independent`` are divided between two queries only.
    """
    if not independent:
        lengths = [len(list(group)) for _, group in groupby(pairs, key=lambda pair: pair.query)]
        return [0, *accumulate(lengths)]
    bounds, characters = [0], 0
    for place, pair in enumerate(pairs):
        characters += len(pair.query) + len(pair.document)
        if place - bounds[-1] == _BATCH_PAIRS or (characters > _BATCH_CHARACTERS and place > bounds[-1]):
            bounds.append(place)
            characters = len(pair.query) + len(pair.document)
    return [*bounds, len(pairs)] if pairs else bounds


def _characters(pairs: Sequence[Pair]) -> int:
    return sum(len(pair.query) + len(pair.document) for pair in pairs)


class Service:
    """Scores the requests of many clients with one model. To be made and used on the event loop."""

    def __init__(
        self,
        model: StepwiseModel,
        *,
        max_pairs: int,
        max_tokens: int | None = None,
        max_text_chars: int | None = None,
        cache: ScoreCache | None = None,
        on_batch: BatchObserver | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.model = model
        self.cache = cache
        self.scheduler = Scheduler(model, on_batch=on_batch, on_fatal=on_fatal)
        self.admission = Admission(
            max_pairs=max_pairs,
            max_tokens=max_tokens or max_pairs * model.info.max_length,
            tokens_per_second=lambda: self.scheduler.tokens_per_second,
            waiting_tokens=lambda: self.waiting_tokens,
            seconds_left=self._seconds_left,
        )
        self.tokenizing = TokenizeThread()
        self._max_text_chars = max_text_chars
        self._prompt = prompt_tokens(model)
        self._requests: dict[Reservation, tuple[PendingScores, PendingTokens]] = {}
        self._forecast: tuple[object, float, dict[Reservation, float] | None] = (None, 0.0, None)

    @property
    def threads(self) -> dict[str, Progress]:
        """The progress of each thread, by name."""
        return {"compute": self.scheduler.progress, "tokenize": self.tokenizing.progress}

    @property
    def waiting_tokens(self) -> int:
        """The tokens that wait for the model; estimated for texts that are not tokenized yet."""
        return self.scheduler.waiting_tokens + self.tokenizing.waiting_tokens

    async def score_pairs(
        self, pairs: Sequence[Pair], options: ScoreOptions, *, seconds: float, record: RequestRecord
    ) -> Scores:
        """Score pairs, in their order, within ``seconds``. Counts and times are written to ``record``.

        Raises as ``Scorer.score``; ``Overloaded`` and ``TooManyDocuments`` before any work is done, and
        ``DeadlineExceeded`` when the time is over. Cancelling it also cancels the work that has not begun.
        """
        if self.model.independent:
            return await self._score(pairs, options, seconds, record)
        # The documents of a query are one list, wherever they stand in the request.
        order = [position for own in positions_by_query(pairs).values() for position in own]
        scores = await self._score([pairs[position] for position in order], options, seconds, record)
        return reordered(scores, order)

    async def _score(
        self, pairs: Sequence[Pair], options: ScoreOptions, seconds: float, record: RequestRecord
    ) -> Scores:
        check_highlight(self.model, options)
        tokens = self._estimated_tokens(pairs, options)
        sentence_tokens = estimated_sentence_tokens(pairs, self.model.info, options, self._prompt)
        deadline = asyncio.get_running_loop().time() + seconds
        with (
            self.admission.reserve(len(pairs), tokens + sentence_tokens, seconds=seconds) as reservation,
            self.scheduler.open(deadline) as pending_scores,
            self.tokenizing.open(deadline) as pending_tokens,
        ):
            self._requests[reservation] = pending_scores, pending_tokens
            try:
                async with asyncio.timeout_at(deadline):
                    tokenized = await self._encode(pairs, options, pending_scores, pending_tokens, record)
                    record.cached = tokenized.cached
                    own_tokens = self.model.cost(distinct_sequences(tokenized.encodings))
                    reservation.tokens = own_tokens + sentence_tokens
                    scores = await self._finish(tokenized, options, pending_scores, record)
                    if options.highlight is not None:  # pragma: no branch (Python 3.11 loses it: CPython 106749)
                        chosen = documents_to_highlight(scores, options)
                        asked = await self._sentences(scores, pairs, chosen, pending_scores, pending_tokens)
                        plain = sentence_options(options)
                        sentences = [one.pair for one in asked]
                        tokenized = await self._encode(sentences, plain, pending_scores, pending_tokens, record)
                        reservation.tokens = own_tokens + self.model.cost(distinct_sequences(tokenized.encodings))
                        found = await self._finish(tokenized, plain, pending_scores, record)
                        scores = with_sentences(scores, chosen, asked, found)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the {seconds:g} s of this request are over, with {pending_scores.computed} sequences of its "
                    f"{len(pairs)} pairs computed: send fewer at once, or give it more time"
                ) from None
            finally:
                del self._requests[reservation]
        record.tokens, record.truncated = scores.usage.tokens, scores.usage.truncated
        return scores

    async def _finish(
        self, tokenized: Tokenized, options: ScoreOptions, pending_scores: PendingScores, record: RequestRecord
    ) -> Scores:
        """Wait for the outputs that are missing, make scores of all, and put the new ones into the cache."""
        more_follow = options.highlight is not None  # sentences, which share the queries of the documents
        outputs = tokenized.outputs | await self._computed(pending_scores, record, more_follow=more_follow)
        scores = to_scores(self.model, tokenized.encodings, outputs, options)
        if self.cache is not None:
            for key, encoding in zip(tokenized.new, tokenized.encodings, strict=True):
                if key is not None:
                    self.cache.put(
                        key, CacheEntry(encoding, tuple(outputs[sequence] for sequence in encoding.sequences))
                    )
        return scores

    async def _sentences(
        self,
        scores: Scores,
        pairs: Sequence[Pair],
        documents: Sequence[int],
        pending_scores: PendingScores,
        pending_tokens: PendingTokens,
    ) -> list[SentencePair]:
        """Find the sentences of documents in the tokenize thread, in batches: it takes a while for many texts."""
        waiting = []
        for start in range(0, len(documents), _BATCH_PAIRS):
            batch = documents[start : start + _BATCH_PAIRS]
            characters = _characters([pairs[position] for position in batch]) // _CHARACTERS_SPLIT
            find = partial(sentence_pairs, scores, pairs, batch)
            waiting.append(pending_tokens.add(find, characters=characters, tokens=0))
        return [one for batch in waiting for one in await pending_scores.cancel_on_failure(batch)]

    def _estimated_tokens(self, pairs: Sequence[Pair], options: ScoreOptions) -> int:
        return estimated_tokens(pairs, self.model.info, options, self._max_text_chars, self._prompt)

    async def warm_up(self) -> None:
        """Tokenize and score a few pairs, so that the first request needs no initialization. Raises ``ModelError``."""
        with self.tokenizing.open(float("inf")) as pending_tokens:
            await pending_tokens.add(
                partial(encode_pairs, self.model.encode, CALIBRATION_TEXTS, ScoreOptions()), characters=1000, tokens=0
            )
        await self.scheduler.warm_up()

    def fail_waiting(self, error: RerankError) -> None:
        """Fail all requests that wait with ``error``, and go on with the next ones."""
        self.scheduler.fail_waiting(error)

    def close(self, error: RerankError | None = None) -> None:
        """Fail all requests that wait with ``error``, and end the threads after their current batch."""
        self.scheduler.close(error)
        self.tokenizing.close()

    async def _encode(
        self,
        pairs: Sequence[Pair],
        options: ScoreOptions,
        pending_scores: PendingScores,
        pending_tokens: PendingTokens,
        record: RequestRecord,
    ) -> Tokenized:
        """Tokenize in batches; the model may begin with the first batch before the last one is tokenized."""
        began = time.perf_counter()
        tokenized = Tokenized()
        waiting = []
        for start, end in pairwise(batch_bounds(pairs, independent=self.model.independent)):
            batch = pairs[start:end]
            waiting.append(
                pending_tokens.add(
                    partial(self._encode_batch, batch, options, start),
                    characters=_characters(batch),
                    tokens=self._estimated_tokens(batch, options),
                )
            )
        for encoding in waiting:
            encoded = await pending_scores.cancel_on_failure(encoding)
            tokenized.extend(encoded)
            wanted = [
                sequence for sequence in distinct_sequences(encoded.encodings) if sequence not in tokenized.outputs
            ]
            pending_scores.add(batch_order(wanted))
        record.tokenize_seconds += time.perf_counter() - began
        return tokenized

    def _seconds_left(self) -> dict[Reservation, float] | None:
        """Estimate the seconds until each request ends; None while too little was measured.

        The forecast is computed once for every batch, however many requests are refused in that time.
        """
        now = time.monotonic()
        state = (self.scheduler.progress.number, self.tokenizing.progress.number, self.admission.admitted)
        if self._forecast[0] == state:
            _, then, known = self._forecast
            return known and {reservation: max(0.0, seconds - (now - then)) for reservation, seconds in known.items()}
        coming = {
            pending_scores.request: pending_tokens.waiting_tokens
            for pending_scores, pending_tokens in self._requests.values()
        }
        computing, tokenizing = self.scheduler.seconds_left(coming), self.tokenizing.seconds_left()
        found = None
        if computing is not None:
            found = {
                reservation: max(
                    computing.get(pending_scores.request, 0.0), tokenizing.get(pending_tokens.request, 0.0)
                )
                for reservation, (pending_scores, pending_tokens) in self._requests.items()
            }
        self._forecast = state, now, found
        return found

    def _encode_batch(self, pairs: Sequence[Pair], options: ScoreOptions, first: int) -> Tokenized:
        if self.cache is None:
            return Tokenized(encode_pairs(self.model.encode, pairs, options, first))
        tokenized, places = Tokenized(), range(len(pairs))
        keys = self.cache.keys(pairs, options)
        known = [self.cache.get(keys[place], first + place) for place in places]
        for is_known, group in groupby(places, key=lambda place: known[place] is not None):
            run = list(group)
            if is_known:
                for one in filter(None, known[run[0] : run[-1] + 1]):
                    tokenized.extend(
                        Tokenized([one.encoding], [None], dict(zip(one.encoding.sequences, one.outputs, strict=True)))
                    )
            else:
                new = slice(run[0], run[-1] + 1)
                encodings = encode_pairs(self.model.encode, pairs[new], options, first + run[0])
                tokenized.extend(Tokenized(encodings, keys[new]))
        return tokenized

    async def _computed(
        self, pending_scores: PendingScores, record: RequestRecord, *, more_follow: bool
    ) -> dict[TokenSequence, Output]:
        began = time.perf_counter()
        try:
            return await pending_scores.outputs(more_follow=more_follow)
        finally:
            forward_seconds = pending_scores.forward_seconds - record.forward_seconds
            record.queue_seconds += max(0.0, time.perf_counter() - began - forward_seconds)
            record.forward_seconds = pending_scores.forward_seconds


@dataclass(slots=True)
class Tokenized:
    """Encodings; with a cache, the key of each one that is not in it (None for the others), and the outputs in it."""

    encodings: list[Encoding] = field(default_factory=list)
    new: Sequence[bytes | None] = field(default_factory=list)
    outputs: dict[TokenSequence, Output] = field(default_factory=dict)

    @property
    def cached(self) -> int:
        """The number of pairs that were in the cache."""
        return sum(key is None for key in self.new)

    def extend(self, other: Tokenized) -> None:
        """Add the next batch."""
        self.encodings += other.encodings
        self.new = [*self.new, *other.new]
        self.outputs |= other.outputs
