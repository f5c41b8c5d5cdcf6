"""One thread that tokenises the parts of all requests, in a fair order."""

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
from rerank_server.inference.queue import Job, Order, Queue

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Part(Generic[Result]):
    """Some pairs of a request, tokenised at once. ``tokens`` is an estimate of theirs."""

    run: Callable[[], Result]
    characters: int
    tokens: int
    done: asyncio.Future[Result]

    def __len__(self) -> int:
        """Its size: characters."""
        return max(1, self.characters)


@dataclass(slots=True)
class PartTicket:
    """One request's parts. Belongs to the event loop."""

    order: Order[Part[Any]]
    _add: Callable[[Order[Part[Any]], Part[Any]], None]
    parts: list[Part[Any]] = field(default_factory=list)
    waiting_tokens: int = 0
    """Of its parts that are not tokenised yet, estimated."""

    def add(self, run: Callable[[], Result], *, characters: int, tokens: int) -> asyncio.Future[Result]:
        """Have a part tokenised. Gives what ``run`` will give, or ``ModelError`` where it fails."""
        part = Part(run, characters, tokens, asyncio.get_running_loop().create_future())
        self.parts.append(part)
        self.waiting_tokens += tokens
        self._add(self.order, part)
        return part.done


class TokenizeThread:
    """Runs the parts of all requests, one at a time.

    The order is that of ``Queue``: half of the work is for the request that has waited longest, half for those that
    were given least. So a small request waits for one part of a large one, or two.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: Queue[Part[Any]] = Queue()
        self._tickets: dict[Order[Part[Any]], PartTicket] = {}
        self._wakeup = threading.Condition()  # also guards the queue
        self._pace = Pace()
        self._ended = False
        self.progress = Progress()
        # A daemon: a text that is never done must not keep the process alive.
        threading.Thread(target=self._run, name="tokenize", daemon=True).start()

    @property
    def waiting_tokens(self) -> int:
        """Tokens of all parts that are not tokenised yet, estimated."""
        return sum(ticket.waiting_tokens for ticket in self._tickets.values())

    @contextmanager
    def ticket(self, deadline: float) -> Iterator[PartTicket]:
        """A place for one request's parts. What has not begun when it is left, or at the deadline, never will."""
        if self._ended:
            raise Unavailable("the server has ended: try again elsewhere")
        with self._wakeup:
            order = self._queue.open(deadline)
        ticket = self._tickets[order] = PartTicket(order, self._add)
        try:
            yield ticket
        finally:
            del self._tickets[order]
            with self._wakeup:
                self._queue.drop(order)
            for part in ticket.parts:
                if not part.done.cancel() and not part.done.cancelled():
                    part.done.exception()  # nobody waits for it any more: it is no news

    def seconds_left(self) -> Mapping[Order[Part[Any]], float]:
        """Seconds until the last part of each order is tokenised, as far as that can be said."""
        with self._wakeup:
            found = seconds_left(self._queue, {}, 1, self._pace) or {}  # a part is a batch of its own
        size = self.progress.size
        running = max(0.0, (self._pace.seconds(size) or 0.0) - self.progress.elapsed) if size else 0.0
        return {order: running + seconds for order, seconds in found.items()}

    def close(self) -> None:
        """Begin no other part."""
        with self._wakeup:
            self._ended = True
            self._wakeup.notify()

    def _add(self, order: Order[Part[Any]], part: Part[Any]) -> None:
        with self._wakeup:
            self._queue.add(order, [part])
            self._wakeup.notify()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (job := self._take()) is not None:
            part, began = job.segment, time.perf_counter()
            result, failure = None, None
            try:
                with self.progress.working(len(part)):
                    result = part.run()
            except BaseException as error:  # whatever it is, somebody waits, and so do others behind
                failure = _failure(error, part)
            else:
                self._pace.note(len(part), time.perf_counter() - began)
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, job, result, failure)

    def _take(self) -> Job[Part[Any]] | None:
        with self._wakeup:
            while not self._ended:
                if batch := self._queue.take(1, time.monotonic()):
                    return batch[0]
                self._wakeup.wait()
        return None

    # ------------------------------------------------------------------ back on the event loop

    def _settle(self, job: Job[Part[Any]], result: Any, failure: RerankError | None) -> None:
        with self._wakeup:
            owners = self._queue.settle(job)
        part = job.segment
        for order in owners:
            self._tickets[order].waiting_tokens -= part.tokens
        if part.done.done():
            return
        if failure is not None:
            part.done.set_exception(failure)
        else:
            part.done.set_result(result)


def _failure(error: BaseException, part: Part[Any]) -> RerankError:
    """What to answer. Its message holds no text, as a tokenizer's own may."""
    if isinstance(error, InvalidRequest):
        return error
    answer = (
        error
        if isinstance(error, RerankError)
        else ModelError(f"tokenising {part.characters} characters failed ({type(error).__name__})")
    )
    logger.error("a part of a request could not be tokenised: %s", answer)
    return answer
