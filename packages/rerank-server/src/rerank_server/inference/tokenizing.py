"""The tokenize thread: it tokenizes the batches of all requests, in a fair order."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rerank_core.errors import InvalidRequest, ModelError, RerankError, Unavailable

from rerank_server.inference.forecast import seconds_left
from rerank_server.inference.pace import Pace
from rerank_server.inference.progress import Progress
from rerank_server.inference.queue import Queue, QueuedRequest, WorkItem

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch(Generic[Result]):
    """A batch of pairs of one request. ``tokens`` is an estimate of their number."""

    run: Callable[[], Result]
    characters: int
    tokens: int
    done: asyncio.Future[Result]

    def __len__(self) -> int:
        """The size of the batch in characters, at least 1."""
        return max(1, self.characters)


@dataclass(slots=True)
class PendingTokens:
    """The batches of one request. To be used on the event loop only."""

    request: QueuedRequest[PairBatch[Any]]
    _add: Callable[[QueuedRequest[PairBatch[Any]], PairBatch[Any]], None]
    batches: list[PairBatch[Any]] = field(default_factory=list)
    waiting_tokens: int = 0
    """The estimated number of tokens of batches that are not tokenized yet."""

    def add(self, run: Callable[[], Result], *, characters: int, tokens: int) -> asyncio.Future[Result]:
        """Add a batch. The future has the result of ``run``, or ``ModelError`` where it fails."""
        batch = PairBatch(run, characters, tokens, asyncio.get_running_loop().create_future())
        self.batches.append(batch)
        self.waiting_tokens += tokens
        self._add(self.request, batch)
        return batch.done


class TokenizeThread:
    """Runs the batches of all requests, one at a time.

    The order is that of ``Queue``: half of the work is for the request that has waited longest, half for those that
    were served least. So a small request waits for one or two batches of a large one.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: Queue[PairBatch[Any]] = Queue()
        self._pending: dict[QueuedRequest[PairBatch[Any]], PendingTokens] = {}
        self._wakeup = threading.Condition()  # also guards the queue
        self._pace = Pace()
        self._ended = False
        self.progress = Progress()
        # A daemon: a text that is never done must not keep the process alive.
        threading.Thread(target=self._run, name="tokenize", daemon=True).start()

    @property
    def waiting_tokens(self) -> int:
        """The estimated number of tokens of all batches that are not tokenized yet."""
        return sum(pending.waiting_tokens for pending in self._pending.values())

    @contextmanager
    def open(self, deadline: float) -> Iterator[PendingTokens]:
        """Add a request, until the end of the context or the deadline: batches that have not begun then are dropped."""
        if self._ended:
            raise Unavailable("the server has ended: try again elsewhere")
        with self._wakeup:
            request = self._queue.open(deadline)
        pending = self._pending[request] = PendingTokens(request, self._add)
        try:
            yield pending
        finally:
            del self._pending[request]
            with self._wakeup:
                self._queue.drop(request)
            for batch in pending.batches:
                if not batch.done.cancel() and not batch.done.cancelled():
                    batch.done.exception()  # mark the exception as retrieved: nobody waits for it

    def seconds_left(self) -> Mapping[QueuedRequest[PairBatch[Any]], float]:
        """Estimate the seconds until the last batch of each request is tokenized."""
        with self._wakeup:
            found = seconds_left(self._queue, {}, 1, self._pace) or {}  # one batch of pairs at a time
        size = self.progress.size
        running = max(0.0, (self._pace.seconds(size) or 0.0) - self.progress.elapsed) if size else 0.0
        return {request: running + seconds for request, seconds in found.items()}

    def close(self) -> None:
        """End the thread after the current batch."""
        with self._wakeup:
            self._ended = True
            self._wakeup.notify()

    def _add(self, request: QueuedRequest[PairBatch[Any]], batch: PairBatch[Any]) -> None:
        with self._wakeup:
            self._queue.add(request, [batch])
            self._wakeup.notify()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (item := self._take()) is not None:
            batch, began = item.work, time.perf_counter()
            result, failure = None, None
            try:
                with self.progress.working(len(batch)):
                    result = batch.run()
            except BaseException as error:  # of any kind: requests wait for an answer
                failure = _failure(error, batch)
            else:
                self._pace.update(len(batch), time.perf_counter() - began)
            with suppress(RuntimeError):  # the loop has ended: nobody waits for an answer
                self._loop.call_soon_threadsafe(self._complete, item, result, failure)

    def _take(self) -> WorkItem[PairBatch[Any]] | None:
        with self._wakeup:
            while not self._ended:
                if batch := self._queue.take(1, time.monotonic()):
                    return batch[0]
                self._wakeup.wait()
        return None

    # ------------------------------------------------------------------ back on the event loop

    def _complete(self, item: WorkItem[PairBatch[Any]], result: Any, failure: RerankError | None) -> None:
        with self._wakeup:
            owners = self._queue.complete(item)
        batch = item.work
        for request in owners:
            self._pending[request].waiting_tokens -= batch.tokens
        if batch.done.done():
            return
        if failure is not None:
            batch.done.set_exception(failure)
        else:
            batch.done.set_result(result)


def _failure(error: BaseException, batch: PairBatch[Any]) -> RerankError:
    """The error to answer with. Its message has no text of a request, which that of a tokenizer may have."""
    if isinstance(error, InvalidRequest):
        return error
    answer = (
        error
        if isinstance(error, RerankError)
        else ModelError(f"tokenising {batch.characters} characters failed ({type(error).__name__})")
    )
    logger.error("a batch of pairs could not be tokenized: %s", answer)
    return answer
