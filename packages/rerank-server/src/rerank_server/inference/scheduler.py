"""The scheduler: one queue, one compute thread, and an answer to every request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from rerank_core.errors import DeviceError, EngineError, RerankError, Unavailable
from rerank_core.models.batching import price
from rerank_core.models.scoring import distinct_sequences, to_scores
from rerank_core.scorer import Output, StepwiseModel
from rerank_core.types import ScoreOptions, SharedPrefix, TokenSequence

from rerank_server.inference.forecast import seconds_left
from rerank_server.inference.pace import Pace
from rerank_server.inference.progress import Progress
from rerank_server.inference.queue import Queue, QueuedRequest, Size, WorkItem

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_PROBE_AFTER = 3  # failed batches in a row after which the model is probed
_PROBE_SECONDS = 5.0  # between two probes
_SMOOTHING = 0.8  # the weight of earlier measurements against the latest one


class BatchObserver(Protocol):
    """Called after each batch, in the compute thread."""

    def __call__(self, *, sequences: int, tokens: int, seconds: float, failed: bool) -> None:
        """Observe a batch. ``failed``: nothing of it could be computed."""
        ...


@dataclass(frozen=True, slots=True)
class _Failure:
    error: RerankError


_Outcome: TypeAlias = Output | _Failure


class PendingScores:
    """The pending scores of one request. To be used on the event loop only."""

    def __init__(
        self,
        add: Callable[[QueuedRequest[TokenSequence], Sequence[TokenSequence]], None],
        request: QueuedRequest[TokenSequence],
    ) -> None:
        self._add = add
        self.request = request
        self._outputs: dict[TokenSequence, Output] = {}
        self._error: RerankError | None = None
        self._completed = asyncio.Event()
        self._failed = asyncio.Event()
        self.forward_seconds = 0.0
        """The seconds of all batches that had work of this request."""

    @property
    def computed(self) -> int:
        """The number of sequences that are computed."""
        return len(self._outputs)

    def add(self, sequences: Iterable[TokenSequence]) -> None:
        """Add sequences to compute, in this order, except those that are computed already.

        Raises as ``outputs`` where the request has failed already.
        """
        if self._error is not None:
            raise self._error
        self._add(self.request, [sequence for sequence in sequences if sequence not in self._outputs])

    async def cancel_on_failure(self, work: asyncio.Future[Result]) -> Result:
        """Await ``work``; cancel it and raise as ``outputs`` as soon as the request fails."""
        failing = asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait((work, failing), return_when=asyncio.FIRST_COMPLETED)
            if self._error is not None:
                raise self._error
            return await work
        finally:
            failing.cancel()
            work.cancel()

    async def outputs(self, *, more_follow: bool = False) -> dict[TokenSequence, Output]:
        """Await the outputs of all sequences that were added; unless ``more_follow``, prefixes are not held for others.

        Raises the error of the model for one of them, and ``RerankError`` where the scheduler has ended.
        """
        if not more_follow:
            self.request.recent = ()
        while self._error is None and self.request.missing:
            self._completed.clear()
            await self._completed.wait()
        if self._error is not None:
            raise self._error
        return self._outputs

    def complete(self, sequence: TokenSequence, outcome: _Outcome) -> None:
        """Take the outcome of a sequence."""
        if isinstance(outcome, _Failure):
            self.fail(outcome.error)
            return
        self._outputs[sequence] = outcome
        if not self.request.missing:
            self._completed.set()

    def fail(self, error: RerankError) -> None:
        """Fail the request: no more outputs come."""
        self._error = error
        self._completed.set()
        self._failed.set()


class Scheduler:
    """Computes the sequences of all requests in a thread of its own.

    ``on_fatal`` is called on the event loop when that thread has ended with an error; all requests are answered before.
    """

    def __init__(
        self,
        model: StepwiseModel,
        *,
        on_batch: BatchObserver | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._model = model
        self._on_batch = on_batch
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._queue: Queue[TokenSequence] = Queue(self._measure)
        self._pending: dict[QueuedRequest[TokenSequence], PendingScores] = {}
        self._wakeup = threading.Condition()  # also guards the queue
        self._ended: RerankError | None = None
        self._failed_batches = 0
        self._sample = model.encode("Is it warm?", ["It is now."], ScoreOptions())
        self._tokens = self._seconds = 0.0  # of recent batches
        self._pace = Pace()
        self.progress = Progress()
        self.tokens_per_second: float | None = None
        """The rate of recent batches that were at least half full; None before the first one."""
        self.is_healthy = True
        """Whether recent batches, or the probe batch, did not fail."""
        # A daemon: a batch that never ends must not keep the process alive.
        threading.Thread(target=self._run, name="compute", daemon=True).start()

    @property
    def waiting_sequences(self) -> int:
        """The number of sequences that no batch has taken yet."""
        return self._queue.sequences

    @property
    def waiting_tokens(self) -> int:
        """The cost of these sequences, in tokens; a prefix that those of a request share counts once."""
        return self._queue.tokens

    @contextmanager
    def open(self, deadline: float) -> Iterator[PendingScores]:
        """Add a request to the queue, until the end of the context.

        Sequences that no batch has taken by then, or by the ``deadline`` (a time of the event loop's clock), are never
        computed. Raises ``RerankError`` where the scheduler has ended.
        """
        if self._ended is not None:
            raise self._ended
        with self._wakeup:
            request = self._queue.open(deadline)
        pending = self._pending[request] = PendingScores(self._add, request)
        try:
            yield pending
        finally:
            del self._pending[request]
            with self._wakeup:
                self._queue.drop(request)

    async def warm_up(self) -> None:
        """Score a few pairs, so that the first request needs no initialization. Raises ``EngineError``."""
        with self.open(float("inf")) as pending:
            pending.add(distinct_sequences(self._sample))
            to_scores(self._model, self._sample, await pending.outputs(), ScoreOptions())

    def seconds_left(
        self, coming: Mapping[QueuedRequest[TokenSequence], int]
    ) -> Mapping[QueuedRequest[TokenSequence], float] | None:
        """Estimate the seconds until each request is computed; None while too little was measured.

        ``coming``: tokens that requests will still add. A request without waiting sequences has the remaining
        seconds of the current batch.
        """
        with self._wakeup:
            found = seconds_left(self._queue, coming, self._model.batch_tokens, self._pace)
        size = self.progress.size
        running = self._pace.seconds(size) if size else 0.0
        if running is None or found is None:
            return None
        remaining = max(0.0, running - self.progress.elapsed)
        return dict.fromkeys(self._pending, remaining) | {
            request: remaining + seconds for request, seconds in found.items()
        }

    def fail_waiting(self, error: RerankError) -> None:
        """Fail all requests in the queue, and go on with the next ones."""
        for pending in list(self._pending.values()):
            pending.fail(error)

    def close(self, error: RerankError | None = None) -> None:
        """End the scheduler. Requests in the queue fail with ``error``, by default an ``Unavailable``."""
        if self._ended is None:
            self._end(error or Unavailable("the server has ended: try again elsewhere"))

    def _end(self, error: RerankError) -> None:
        with self._wakeup:
            self._ended = error
            self._wakeup.notify()
        for pending in self._pending.values():
            pending.fail(error)

    def _measure(self, sequence: TokenSequence) -> Size:
        return Size(*price(sequence, self._model.cost), sequence.prefix_ids)

    def _add(self, request: QueuedRequest[TokenSequence], sequences: Sequence[TokenSequence]) -> None:
        with self._wakeup:
            self._queue.add(request, sequences)
            self._wakeup.notify()

    # ------------------------------------------------------------------ in the compute thread

    def _run(self) -> None:
        try:
            while True:
                batch = self._take()
                if batch is None:
                    return
                if batch:
                    self._compute_and_report(batch)
                else:
                    self.is_healthy = self._probe()
        except BaseException as error:  # of any kind: other requests wait for an answer
            logger.critical("the compute thread ended", exc_info=error)
            self._call_on_loop(self._fail, error)

    def _take(self) -> list[WorkItem[TokenSequence]] | None:
        """Wait for the next batch. Empty where it is time to probe the model, None at the end."""
        with self._wakeup:
            while self._ended is None:
                if batch := self._queue.take(self._model.batch_tokens, time.monotonic()):
                    return batch
                if not self._wakeup.wait(None if self.is_healthy else _PROBE_SECONDS):
                    return []
        return None

    def _compute_and_report(self, batch: list[WorkItem[TokenSequence]]) -> None:
        sequences = [item.work for item in batch]
        charged = [item.charged for item in batch]
        tokens = sum(charged)
        began = time.perf_counter()
        outcomes = self._compute(sequences, [item.prefix for item in batch], charged)
        seconds = time.perf_counter() - began
        for outcome in outcomes:
            if isinstance(outcome, _Failure):
                clear_frames(outcome.error)
        failed = all(isinstance(outcome, _Failure) for outcome in outcomes)
        # Counted before it is answered: whoever has an answer finds its batch in the metrics.
        if not failed:
            self._update_rate(tokens, seconds)
        if self._on_batch is not None:
            self._on_batch(sequences=len(sequences), tokens=tokens, seconds=seconds, failed=failed)
        self._call_on_loop(self._complete, batch, outcomes, seconds)
        self._update_health(failed=failed)

    def _compute(
        self, sequences: Sequence[TokenSequence], shared: Sequence[SharedPrefix | None], charged: Sequence[int]
    ) -> list[_Outcome]:
        """Compute a batch, with an outcome for each sequence. A batch that fails is halved, down to the cause.

        ``charged``: the tokens that each sequence adds to the batch.
        """
        try:
            with self.progress.working(sum(charged)):
                outputs: list[_Outcome] = list(self._model.forward(sequences, shared))
            if len(outputs) != len(sequences):
                raise EngineError(f"the model returned {len(outputs)} outputs for {len(sequences)} sequences")
            return outputs
        except DeviceError:
            raise
        except BaseException as error:  # a library may raise anything, and nothing may end this thread
            if len(sequences) > 1:
                middle = len(sequences) // 2
                first = self._compute(sequences[:middle], shared[:middle], charged[:middle])
                return first + self._compute(sequences[middle:], shared[middle:], charged[middle:])
            if isinstance(error, RerankError):
                return [_Failure(error)]
            logger.exception("the model failed on a sequence of %d tokens", len(sequences[0]))
            return [_Failure(EngineError(f"the model failed on {len(sequences[0])} tokens ({type(error).__name__})"))]

    def _update_rate(self, tokens: int, seconds: float) -> None:
        self._pace.update(tokens, seconds)
        if 2 * tokens >= self._model.batch_tokens:  # smaller ones are slower: they do not show the rate under load
            self._tokens, self._seconds = _SMOOTHING * self._tokens + tokens, _SMOOTHING * self._seconds + seconds
            self.tokens_per_second = self._tokens / max(self._seconds, 1e-9)

    def _update_health(self, *, failed: bool) -> None:
        if not failed:
            self._failed_batches, self.is_healthy = 0, True
            return
        self._failed_batches += 1
        if self._failed_batches >= _PROBE_AFTER:
            self.is_healthy = self._probe()

    def _probe(self) -> bool:
        """Whether the model computes the probe batch."""
        sample = distinct_sequences(self._sample)
        outcomes = self._compute(sample, (), [self._model.cost([sequence]) for sequence in sample])
        fine = not any(isinstance(outcome, _Failure) for outcome in outcomes)
        if fine:
            self._failed_batches = 0
        elif self.is_healthy:
            logger.error("%d batches in a row failed, and so does the probe batch: not ready", self._failed_batches)
        return fine

    def _call_on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits for an answer
            self._loop.call_soon_threadsafe(function, *arguments)

    # ------------------------------------------------------------------ back on the event loop

    def _complete(self, batch: list[WorkItem[TokenSequence]], outcomes: list[_Outcome], seconds: float) -> None:
        with self._wakeup:
            owners = [self._queue.complete(item) for item in batch]
        for request in {request for requests in owners for request in requests}:
            self._pending[request].forward_seconds += seconds
        for item, requests, outcome in zip(batch, owners, outcomes, strict=True):
            for request in requests:
                self._pending[request].complete(item.work, outcome)

    def _fail(self, error: BaseException) -> None:
        self._end(
            error if isinstance(error, RerankError) else EngineError("the compute thread ended: the log says why")
        )
        if self._on_fatal is not None:
            self._on_fatal(error)


def clear_frames(error: BaseException) -> None:
    """Clear the variables of all functions that an error has passed through.

    An error lives as long as its request, and longer where it is part of a circle. So would what a failed batch held:
    its prefixes, and all that its engine had computed. Lines for a log stay.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            traceback.clear_frames(found.__traceback__)
            waiting += [found.__cause__, found.__context__]
