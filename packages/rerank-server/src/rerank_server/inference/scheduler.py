"""One queue, one compute thread, and every order answered."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from rerank_core.errors import DeviceError, EngineError, RerankError, Unavailable
from rerank_core.models.scoring import distinct_segments, to_scores
from rerank_core.scorer import Output, PairModel
from rerank_core.types import Pair, ScoreOptions, Segment

from rerank_server.inference.forecast import seconds_left
from rerank_server.inference.pace import Pace
from rerank_server.inference.progress import Progress
from rerank_server.inference.queue import Job, Order, Queue

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_BAD_BATCHES = 3  # so many in a row, and the model itself is asked how it is
_PROBE_SECONDS = 5.0  # between two such questions
_MEMORY = 0.8  # how much of what was measured stays with each further batch


class BatchObserver(Protocol):
    """Told of each batch, in the compute thread."""

    def __call__(self, *, segments: int, tokens: int, seconds: float, failed: bool) -> None:
        """``failed``: nothing of it could be computed."""
        ...


@dataclass(frozen=True, slots=True)
class _Failure:
    error: RerankError


_Outcome: TypeAlias = Output | _Failure


class Ticket:
    """One request's work at the scheduler. Belongs to the event loop."""

    def __init__(self, add: Callable[[Order[Segment], Sequence[Segment]], None], order: Order[Segment]) -> None:
        self._add = add
        self.order = order
        self._outputs: dict[Segment, Output] = {}
        self._error: RerankError | None = None
        self._settled = asyncio.Event()
        self._failed = asyncio.Event()
        self.forward_seconds = 0.0
        """Of the batches that some of it was in."""

    @property
    def computed(self) -> int:
        """How many of its segments are computed."""
        return len(self._outputs)

    def add(self, segments: Iterable[Segment]) -> None:
        """Want segments computed, in this order; those that are computed already are passed over.

        Raises as ``outputs`` where it has failed already.
        """
        if self._error is not None:
            raise self._error
        self._add(self.order, [segment for segment in segments if segment not in self._outputs])

    async def unless_failed(self, work: asyncio.Future[Result]) -> Result:
        """What ``work`` gives. Raises as ``outputs`` as soon as this fails; then ``work`` is cancelled."""
        failing = asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait((work, failing), return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
            return await work
        finally:
            failing.cancel()
            work.cancel()

    async def outputs(self) -> dict[Segment, Output]:
        """What the network said of everything that was added.

        Raises what the network raised on one of them, and ``RerankError`` where nothing is computed any more.
        """
        while self._error is None and self.order.missing:
            self._settled.clear()
            await self._settled.wait()
        if self._error is not None:
            raise self._error
        return self._outputs

    def settle(self, segment: Segment, outcome: _Outcome) -> None:
        """A segment is computed, or cannot be."""
        if isinstance(outcome, _Failure):
            self.fail(outcome.error)
            return
        self._outputs[segment] = outcome
        if not self.order.missing:
            self._settled.set()

    def fail(self, error: RerankError) -> None:
        """Nothing more comes."""
        self._error = error
        self._settled.set()
        self._failed.set()


class Scheduler:
    """Sends the segments of all tickets through a model, in a thread of its own.

    ``on_death`` is called, on the event loop, where that thread can compute no more; by then every ticket is answered.
    """

    def __init__(
        self,
        model: PairModel,
        *,
        on_batch: BatchObserver | None = None,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._model = model
        self._on_batch = on_batch
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._queue: Queue[Segment] = Queue()
        self._tickets: dict[Order[Segment], Ticket] = {}
        self._news = threading.Condition()  # also guards the queue
        self._ended: RerankError | None = None
        self._bad_batches = 0
        self._sample = model.tokenize([Pair("Is it warm?", "It is now.")], ScoreOptions())
        self._tokens = self._seconds = 0.0  # of late
        self._pace = Pace()
        self.progress = Progress()
        self.tokens_per_second: float | None = None
        """Of batches that are half full and more, of late; None before there was one."""
        self.is_fine = True
        """Whether the last batches were."""
        # A daemon: a batch that never ends must not keep the process alive.
        threading.Thread(target=self._run, name="compute", daemon=True).start()

    @property
    def waiting_segments(self) -> int:
        """Segments that no batch has taken yet."""
        return self._queue.segments

    @property
    def waiting_tokens(self) -> int:
        """Their tokens."""
        return self._queue.tokens

    @contextmanager
    def ticket(self, deadline: float) -> Iterator[Ticket]:
        """A place for one request's work. What is not taken when it is left, or at the deadline, is never computed.

        ``deadline`` is a time of the event loop's clock. Raises ``RerankError`` where nothing is computed any more.
        """
        if self._ended is not None:
            raise self._ended
        with self._news:
            order = self._queue.open(deadline)
        ticket = self._tickets[order] = Ticket(self._add, order)
        try:
            yield ticket
        finally:
            del self._tickets[order]
            with self._news:
                self._queue.drop(order)

    async def warm_up(self) -> None:
        """Score something, so that the first request finds everything set up. Raises ``EngineError``."""
        with self.ticket(float("inf")) as ticket:
            ticket.add(distinct_segments(self._sample))
            to_scores(self._model, self._sample, await ticket.outputs(), ScoreOptions())

    def seconds_left(self, coming: Mapping[Order[Segment], int]) -> Mapping[Order[Segment], float] | None:
        """Seconds until the last segment of each order is computed; None where too little was measured to say.

        ``coming``: tokens that orders will still add. An order of which only the batch in progress has something, or
        nothing, has the seconds of that batch at most.
        """
        with self._news:
            found = seconds_left(self._queue, coming, self._model.batch_tokens, self._pace)
        size = self.progress.size
        running = self._pace.seconds(size) if size else 0.0
        if running is None or found is None:
            return None
        begun = max(0.0, running - self.progress.elapsed)
        return dict.fromkeys(self._tickets, begun) | {order: begun + seconds for order, seconds in found.items()}

    def fail_waiting(self, error: RerankError) -> None:
        """Answer every request that waits, and go on with what comes then."""
        for ticket in list(self._tickets.values()):
            ticket.fail(error)

    def close(self, error: RerankError | None = None) -> None:
        """Compute nothing any more. Whoever waits still gets ``error``, by default an ``Unavailable``."""
        if self._ended is None:
            self._end(error or Unavailable("the server has ended: try again elsewhere"))

    def _end(self, error: RerankError) -> None:
        with self._news:
            self._ended = error
            self._news.notify()
        for ticket in self._tickets.values():
            ticket.fail(error)

    def _add(self, order: Order[Segment], segments: Sequence[Segment]) -> None:
        with self._news:
            self._queue.add(order, segments)
            self._news.notify()

    # ------------------------------------------------------------------ in the compute thread

    def _run(self) -> None:
        try:
            while True:
                batch = self._take()
                if batch is None:
                    return
                if batch:
                    self._compute_and_tell(batch)
                else:
                    self.is_fine = self._probe()
        except BaseException as error:  # whatever it is, others wait for an answer
            logger.critical("the compute thread ended", exc_info=error)
            self._tell(self._die, error)

    def _take(self) -> list[Job[Segment]] | None:
        """The next batch, waiting for one; empty where it is time for a question to the model, None at the end."""
        with self._news:
            while self._ended is None:
                if batch := self._queue.take(self._model.batch_tokens, time.monotonic()):
                    return batch
                if not self._news.wait(None if self.is_fine else _PROBE_SECONDS):
                    return []
        return None

    def _compute_and_tell(self, batch: list[Job[Segment]]) -> None:
        segments = [job.segment for job in batch]
        tokens = sum(len(segment) for segment in segments)
        began = time.perf_counter()
        outcomes = self._compute(segments)
        seconds = time.perf_counter() - began
        failed = all(isinstance(outcome, _Failure) for outcome in outcomes)
        self._tell(self._settle, batch, outcomes, seconds)
        self._note(tokens, seconds, failed=failed)
        if self._on_batch is not None:
            self._on_batch(segments=len(segments), tokens=tokens, seconds=seconds, failed=failed)

    def _compute(self, segments: list[Segment]) -> list[_Outcome]:
        """An outcome for each: where the batch fails, its halves, down to the segment that is the cause."""
        try:
            with self.progress.working(sum(map(len, segments))):
                outputs: list[_Outcome] = list(self._model.forward(segments))
            if len(outputs) != len(segments):
                raise EngineError(f"the network said {len(outputs)} things of {len(segments)} segments")
            return outputs
        except DeviceError:
            raise
        except BaseException as error:  # a model may fail in as many ways as its library; nothing may end this thread
            if len(segments) > 1:
                middle = len(segments) // 2
                return self._compute(segments[:middle]) + self._compute(segments[middle:])
            if isinstance(error, RerankError):
                return [_Failure(error)]
            logger.exception("the network failed on a segment of %d tokens", len(segments[0]))
            return [_Failure(EngineError(f"the network failed on {len(segments[0])} tokens ({type(error).__name__})"))]

    def _note(self, tokens: int, seconds: float, *, failed: bool) -> None:
        if failed:
            self._bad_batches += 1
            if self._bad_batches >= _BAD_BATCHES:
                self.is_fine = self._probe()
            return
        self._bad_batches, self.is_fine = 0, True
        self._pace.note(tokens, seconds)
        if 2 * tokens >= self._model.batch_tokens:  # smaller ones are slower, and say nothing of a full house
            self._tokens, self._seconds = _MEMORY * self._tokens + tokens, _MEMORY * self._seconds + seconds
            self.tokens_per_second = self._tokens / max(self._seconds, 1e-9)

    def _probe(self) -> bool:
        """Whether the model computes a sample."""
        fine = not any(isinstance(outcome, _Failure) for outcome in self._compute(distinct_segments(self._sample)))
        if fine:
            self._bad_batches = 0
        elif self.is_fine:
            logger.error("%d batches failed one after the other, and so does a sample: not ready", self._bad_batches)
        return fine

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(what, *arguments)

    # ------------------------------------------------------------------ back on the event loop

    def _settle(self, batch: list[Job[Segment]], outcomes: list[_Outcome], seconds: float) -> None:
        with self._news:
            owners = [self._queue.settle(job) for job in batch]
        present = {order for orders in owners for order in orders if order in self._tickets}
        for order in present:
            self._tickets[order].forward_seconds += seconds
        for job, orders, outcome in zip(batch, owners, outcomes, strict=True):
            for order in orders:
                if order in present:
                    self._tickets[order].settle(job.segment, outcome)

    def _die(self, error: BaseException) -> None:
        self._end(
            error if isinstance(error, RerankError) else EngineError("the compute thread ended: the log says why")
        )
        if self._on_death is not None:
            self._on_death(error)
