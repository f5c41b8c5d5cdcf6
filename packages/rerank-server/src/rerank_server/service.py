"""A request's way to its scores: admitted, tokenised, computed beside others, and never holding the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from rerank_core.errors import DeadlineExceeded, RerankError
from rerank_core.scorer import Output, PairModel
from rerank_core.scoring import distinct_segments, to_scores
from rerank_core.types import Encoding, Pair, ScoreOptions, Scores, Segment

from rerank_server.admission import Admission, estimated_tokens
from rerank_server.cache import Known, ScoreCache
from rerank_server.record import Record
from rerank_server.scheduling.scheduler import BatchObserver, Scheduler, Ticket

# What is tokenised at once: a small request waits for one part of a large one.
_PART_PAIRS = 64
_PART_CHARACTERS = 200_000


def part_bounds(pairs: Sequence[Pair]) -> list[int]:
    """Where the parts of a request begin, and its length at the end."""
    bounds, characters = [0], 0
    for place, pair in enumerate(pairs):
        characters += len(pair.query) + len(pair.document)
        if place - bounds[-1] == _PART_PAIRS or (characters > _PART_CHARACTERS and place > bounds[-1]):
            bounds.append(place)
            characters = len(pair.query) + len(pair.document)
    return [*bounds, len(pairs)] if pairs else bounds


class Service:
    """One model, and everything that stands between it and many requests at once. Made on the event loop."""

    def __init__(
        self,
        model: PairModel,
        *,
        max_pairs: int,
        max_tokens: int | None = None,
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
            waiting_tokens=lambda: self.scheduler.waiting_tokens,
        )
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def score_pairs(
        self, pairs: Sequence[Pair], options: ScoreOptions, *, seconds: float, record: Record
    ) -> Scores:
        """One score per pair, in their order, within so many seconds. What became of it is noted in ``record``.

        Raises as ``Scorer.score``; ``Overloaded`` and ``TooManyDocuments`` before any work is done, and
        ``DeadlineExceeded`` when the time is over. When it is cancelled, what is not computed yet never will be.
        """
        tokens = estimated_tokens(pairs, self.model.info, options)
        deadline = asyncio.get_running_loop().time() + seconds
        with (
            self.admission.hold(len(pairs), tokens, seconds=seconds) as hold,
            self.scheduler.ticket(deadline) as ticket,
        ):
            try:
                async with asyncio.timeout_at(deadline):
                    work = await self._encode(pairs, options, ticket, record)
                    hold.tokens = sum(len(segment) for segment in distinct_segments(work.encodings))
                    outputs = work.outputs | await self._computed(ticket, record)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the {seconds:g} s of this request are over, with {ticket.computed} segments of its "
                    f"{len(pairs)} pairs computed: send fewer at once, or give it more time"
                ) from None
        scores = to_scores(self.model, work.encodings, outputs, options)
        record.tokens, record.truncated = scores.usage.tokens, scores.usage.truncated
        if self.cache is not None:
            for key, encoding in zip(work.new, work.encodings, strict=True):
                if key is not None:
                    self.cache.put(key, Known(encoding, tuple(outputs[segment] for segment in encoding.segments)))
        return scores

    async def warm_up(self) -> None:
        """Compute something, so that the first request finds everything set up. Raises ``EngineError``."""
        await self.scheduler.warm_up()

    def close(self, error: RerankError | None = None) -> None:
        """Answer whoever waits with ``error``, and let the threads end after what they are at."""
        self.scheduler.close(error)
        self._tokenizing.shutdown(wait=False)

    async def _encode(self, pairs: Sequence[Pair], options: ScoreOptions, ticket: Ticket, record: Record) -> _Work:
        """Tokenise in a thread, part by part; the network may begin with the first before the last is done."""
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        work = _Work()
        for start, end in pairwise(part_bounds(pairs)):
            encoding = loop.run_in_executor(self._tokenizing, self._encode_part, pairs[start:end], options, start)
            part = await ticket.unless_failed(encoding)
            work.extend(part)
            wanted = [segment for segment in distinct_segments(part.encodings) if segment not in work.outputs]
            ticket.add(sorted(wanted, key=len, reverse=True))
        record.cached = len(pairs) - sum(key is not None for key in work.new) if self.cache is not None else 0
        record.tokenize_seconds = time.perf_counter() - began
        return work

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
