"""A request's way to its scores: admitted, tokenised, computed beside others, and never holding the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise

from rerank_core.errors import DeadlineExceeded, RerankError
from rerank_core.models.calibration_texts import CALIBRATION_TEXTS
from rerank_core.models.scoring import distinct_segments, to_scores
from rerank_core.scorer import Output, PairModel
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, Segment

from rerank_server.inference.admission import Admission, Hold, estimated_tokens
from rerank_server.inference.cache import Known, ScoreCache
from rerank_server.inference.progress import Progress
from rerank_server.inference.scheduler import BatchObserver, Scheduler, Ticket
from rerank_server.inference.tokenizing import PartTicket, TokenizeThread
from rerank_server.observability.request_record import Record

# What is tokenised at once, some tens of milliseconds: a small request waits for one part of a large one.
_PART_PAIRS = 64
_PART_CHARACTERS = 50_000


def part_bounds(pairs: Sequence[Pair]) -> list[int]:
    """Where the parts of a request begin, and its length at the end."""
    bounds, characters = [0], 0
    for place, pair in enumerate(pairs):
        characters += len(pair.query) + len(pair.document)
        if place - bounds[-1] == _PART_PAIRS or (characters > _PART_CHARACTERS and place > bounds[-1]):
            bounds.append(place)
            characters = len(pair.query) + len(pair.document)
    return [*bounds, len(pairs)] if pairs else bounds


def _characters(pairs: Sequence[Pair]) -> int:
    return sum(len(pair.query) + len(pair.document) for pair in pairs)


class Service:
    """One model, and everything that stands between it and many requests at once. Made on the event loop."""

    def __init__(
        self,
        model: PairModel,
        *,
        max_pairs: int,
        max_tokens: int | None = None,
        max_text_chars: int | None = None,
        cache: ScoreCache | None = None,
        on_batch: BatchObserver | None = None,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.model = model
        self.cache = cache
        self.scheduler = Scheduler(model, on_batch=on_batch, on_death=on_death)
        self.admission = Admission(
            max_pairs=max_pairs,
            max_tokens=max_tokens or max_pairs * model.info.max_length,
            tokens_per_second=lambda: self.scheduler.tokens_per_second,
            waiting_tokens=lambda: self.waiting_tokens,
            seconds_left=self._seconds_left,
        )
        self.tokenizing = TokenizeThread()
        self._max_text_chars = max_text_chars
        self._work: dict[Hold, tuple[Ticket, PartTicket]] = {}
        self._forecast: tuple[object, float, dict[Hold, float] | None] = (None, 0.0, None)

    @property
    def threads(self) -> dict[str, Progress]:
        """What each of its threads is doing, by name."""
        return {"compute": self.scheduler.progress, "tokenize": self.tokenizing.progress}

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait for the network, and those of texts that are not tokenised yet, estimated."""
        return self.scheduler.waiting_tokens + self.tokenizing.waiting_tokens

    async def score_pairs(
        self, pairs: Sequence[Pair], options: ScoreOptions, *, seconds: float, record: Record
    ) -> Scores:
        """One score per pair, in their order, within so many seconds. What became of it is noted in ``record``.

        Raises as ``Scorer.score``; ``Overloaded`` and ``TooManyDocuments`` before any work is done, and
        ``DeadlineExceeded`` when the time is over. When it is cancelled, what is not computed yet never will be.
        """
        tokens = estimated_tokens(pairs, self.model.info, options, self._max_text_chars)
        deadline = asyncio.get_running_loop().time() + seconds
        with (
            self.admission.hold(len(pairs), tokens, seconds=seconds) as hold,
            self.scheduler.ticket(deadline) as ticket,
            self.tokenizing.ticket(deadline) as parts,
        ):
            self._work[hold] = ticket, parts
            try:
                async with asyncio.timeout_at(deadline):
                    work = await self._encode(pairs, options, ticket, parts, record)
                    hold.tokens = sum(len(segment) for segment in distinct_segments(work.encodings))
                    outputs = work.outputs | await self._computed(ticket, record)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the {seconds:g} s of this request are over, with {ticket.computed} segments of its "
                    f"{len(pairs)} pairs computed: send fewer at once, or give it more time"
                ) from None
            finally:
                del self._work[hold]
        scores = to_scores(self.model, work.encodings, outputs, options)
        record.tokens, record.truncated = scores.usage.tokens, scores.usage.truncated
        if self.cache is not None:
            for key, encoding in zip(work.new, work.encodings, strict=True):
                if key is not None:
                    self.cache.put(key, Known(encoding, tuple(outputs[segment] for segment in encoding.segments)))
        return scores

    async def warm_up(self) -> None:
        """Tokenise and compute something, so that the first request finds everything set up. Raises ``ModelError``."""
        with self.tokenizing.ticket(float("inf")) as parts:
            await parts.add(partial(self.model.tokenize, CALIBRATION_TEXTS, ScoreOptions()), characters=1000, tokens=0)
        await self.scheduler.warm_up()

    def fail_waiting(self, error: RerankError) -> None:
        """Answer whoever waits with ``error``, and go on with what comes then."""
        self.scheduler.fail_waiting(error)

    def close(self, error: RerankError | None = None) -> None:
        """Answer whoever waits with ``error``, and let the threads end after what they are at."""
        self.scheduler.close(error)
        self.tokenizing.close()

    async def _encode(
        self, pairs: Sequence[Pair], options: ScoreOptions, ticket: Ticket, parts: PartTicket, record: Record
    ) -> _Work:
        """Tokenise in a thread, part by part; the network may begin with the first before the last is done."""
        began = time.perf_counter()
        work = _Work()
        waiting = []
        for start, end in pairwise(part_bounds(pairs)):
            part = pairs[start:end]
            waiting.append(
                parts.add(
                    partial(self._encode_part, part, options, start),
                    characters=_characters(part),
                    tokens=estimated_tokens(part, self.model.info, options, self._max_text_chars),
                )
            )
        for encoding in waiting:
            encoded = await ticket.unless_failed(encoding)
            work.extend(encoded)
            wanted = [segment for segment in distinct_segments(encoded.encodings) if segment not in work.outputs]
            ticket.add(sorted(wanted, key=len, reverse=True))
        record.cached = len(pairs) - sum(key is not None for key in work.new) if self.cache is not None else 0
        record.tokenize_seconds = time.perf_counter() - began
        return work

    def _seconds_left(self) -> dict[Hold, float] | None:
        """Seconds until each request is expected to end; None where too little was measured to say.

        It is computed once for every batch and part, however many are refused in that time.
        """
        now = time.monotonic()
        state = (self.scheduler.progress.number, self.tokenizing.progress.number, self.admission.admitted)
        if self._forecast[0] == state:
            _, then, known = self._forecast
            return known and {hold: max(0.0, seconds - (now - then)) for hold, seconds in known.items()}
        coming = {ticket.order: parts.waiting_tokens for ticket, parts in self._work.values()}
        computing, tokenizing = self.scheduler.seconds_left(coming), self.tokenizing.seconds_left()
        found = None
        if computing is not None:
            found = {
                hold: max(computing.get(ticket.order, 0.0), tokenizing.get(parts.order, 0.0))
                for hold, (ticket, parts) in self._work.items()
            }
        self._forecast = state, now, found
        return found

    def _encode_part(self, pairs: Sequence[Pair], options: ScoreOptions, first: int) -> _Work:
        if self.cache is None:
            return _Work(self.model.tokenize(pairs, options, first))
        work, places = _Work(), range(len(pairs))
        keys = self.cache.keys(pairs, options)
        known = [self.cache.get(keys[place], first + place) for place in places]
        for is_known, group in groupby(places, key=lambda place: known[place] is not None):
            run = list(group)
            if is_known:
                for one in filter(None, known[run[0] : run[-1] + 1]):
                    work.extend(
                        _Work([one.encoding], [None], dict(zip(one.encoding.segments, one.outputs, strict=True)))
                    )
            else:
                new = slice(run[0], run[-1] + 1)
                work.extend(_Work(self.model.tokenize(pairs[new], options, first + run[0]), keys[new]))
        return work

    async def _computed(self, ticket: Ticket, record: Record) -> dict[Segment, Output]:
        began = time.perf_counter()
        try:
            return await ticket.outputs()
        finally:
            record.forward_seconds = ticket.forward_seconds
            record.queue_seconds = max(0.0, time.perf_counter() - began - ticket.forward_seconds)


@dataclass(slots=True)
class _Work:
    """Encodings; with a cache, for each the key of what is new (None for what was known), and what was known."""

    encodings: list[Encoding] = field(default_factory=list)
    new: Sequence[bytes | None] = field(default_factory=list)
    outputs: dict[Segment, Output] = field(default_factory=dict)

    def extend(self, other: _Work) -> None:
        """Add what comes next."""
        self.encodings += other.encodings
        self.new = [*self.new, *other.new]
        self.outputs |= other.outputs
