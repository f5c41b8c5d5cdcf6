"""What waits for one worker, of all requests, and which of it goes next. Pure: no thread, no clock.

What waits are segments for the network, or parts of requests for the tokenizer; "token" stands for the size of either.

Each batch is dealt out in two halves. One goes to the request that has waited longest, so that everybody is done some
day: a request is never overtaken by more than its own work. The other goes to the requests that will have been given
least with their next, so that a small one that comes while large ones run is in the next batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

_STEPS = 1000  # of the forecast, about: its cost, and its precision


class Work(Hashable, Protocol):
    """One thing to do, told from others by equality. Its length is its size."""

    def __len__(self) -> int:
        """Its size, at least 1."""
        ...


Item = TypeVar("Item", bound=Work)


@dataclass(slots=True, eq=False)
class Job(Generic[Item]):
    """A segment to compute, once, for every order that wants it. ``taken`` when a batch has it."""

    segment: Item
    orders: list[Order[Item]] = field(default_factory=list)
    taken: bool = False


@dataclass(slots=True, eq=False)
class Order(Generic[Item]):
    """What one request wants computed. ``number``: by arrival; ``deadline``: when it wants nothing any more.

    ``given``: tokens that batches took for it; ``waiting``: tokens of its segments that no batch has taken yet;
    ``missing``: its segments that are not computed yet.
    """

    number: int
    deadline: float
    jobs: deque[Job[Item]] = field(default_factory=deque)
    missing: dict[Item, Job[Item]] = field(default_factory=dict)
    given: int = 0
    waiting: int = 0


class Queue(Generic[Item]):
    """Orders and their jobs. ``segments`` and ``tokens`` count what no batch has taken yet."""

    def __init__(self) -> None:
        self._jobs: dict[Item, Job[Item]] = {}
        self._waiting: dict[Order[Item], None] = {}  # orders with jobs left to take, by arrival
        self._by_given: list[tuple[int, int, Order[Item]]] = []  # a heap by _rank; an entry may be out of date
        self._arrivals = 0
        self._lead = 0  # tokens that the longest waiting have had more than those that were given least
        self.segments = 0
        self.tokens = 0

    def open(self, deadline: float) -> Order[Item]:
        """A new order, of nothing yet."""
        self._arrivals += 1
        return Order(self._arrivals, deadline)

    def add(self, order: Order[Item], segments: Iterable[Item]) -> None:
        """Want segments, in this order. One that somebody waits for already is only waited for."""
        for segment in segments:
            if segment in order.missing:
                continue
            job = self._jobs.get(segment)
            if job is None:
                job = self._jobs[segment] = Job(segment)
                self.segments += 1
                self.tokens += len(segment)
            job.orders.append(order)
            order.missing[segment] = job
            if not job.taken:
                order.jobs.append(job)
                order.waiting += len(segment)
        if order.jobs and order not in self._waiting:
            self._waiting[order] = None
            if len(self._by_given) > 2 * len(self._waiting) + 64:  # most of it is out of date
                self._by_given = [(_rank(one), one.number, one) for one in self._waiting]
                heapify(self._by_given)
            else:
                heappush(self._by_given, (_rank(order), order.number, order))

    def drop(self, order: Order[Item]) -> None:
        """Want nothing any more. What nobody else wants is never taken."""
        self._waiting.pop(order, None)
        order.jobs.clear()
        order.waiting = 0
        for job in order.missing.values():
            job.orders.remove(order)
            if not job.orders and not job.taken:
                self._forget(job)
        order.missing.clear()

    def take(self, budget: int, now: float) -> list[Job[Item]]:
        """The next batch: at most ``budget`` tokens, or a single job; empty where nothing waits."""
        batch: list[Job[Item]] = []
        room = budget
        while (found := self._next(room, now, or_any=not batch)) is not None:
            order, job = found
            job.taken = True
            batch.append(job)
            room -= len(job.segment)
            order.given += len(job.segment)
            for wanting in job.orders:
                wanting.waiting -= len(job.segment)
            self.segments -= 1
            self.tokens -= len(job.segment)
        return batch

    def forecast(self, coming: Mapping[Order[Item], int]) -> dict[Order[Item], int]:
        """How many tokens are taken before each order has its last, if no other order comes.

        ``coming``: tokens that orders will still add. An order with nothing to wait for is left out.
        """
        left = {order: order.waiting + coming.get(order, 0) for order in (self._waiting | dict.fromkeys(coming))}
        left = {order: tokens for order, tokens in left.items() if tokens > 0}
        total = self.tokens + sum(coming.values())  # less than all that is left where orders share segments
        least_step = max(1, total // _STEPS)
        steps = {order: max(least_step, order.waiting // max(1, len(order.jobs))) for order in left}  # whole segments
        by_age = deque(sorted(left, key=lambda order: order.number))
        given = {order: order.given + min(steps[order], left[order]) for order in left}  # with the next, as _rank
        by_given = [(given[order], order.number, order) for order in left]
        heapify(by_given)
        found: dict[Order[Item], int] = {}
        taken, lead = 0, self._lead
        while by_age:
            oldest, (known, number, least) = by_age[0], by_given[0]
            if not left[oldest]:
                by_age.popleft()
                continue
            if not left[least] or known != given[least]:
                heappop(by_given)
                if left[least]:
                    heappush(by_given, (given[least], number, least))
                continue
            order, sign = (oldest, 1) if lead <= 0 else (least, -1)
            tokens = min(steps[order], left[order])
            if oldest is not least:
                lead += sign * tokens
            given[order] += tokens
            left[order] -= tokens
            taken += tokens
            if not left[order]:
                found[order] = min(taken, total)
        return found

    def settle(self, job: Job[Item]) -> list[Order[Item]]:
        """A job is computed. Gives the orders that want to know."""
        self._jobs.pop(job.segment, None)
        for order in job.orders:
            del order.missing[job.segment]
        return job.orders

    def _next(self, room: int, now: float, *, or_any: bool) -> tuple[Order[Item], Job[Item]] | None:
        oldest, least = self._oldest(now), self._given_least(now)
        if oldest is None or least is None:
            return None
        sides = [(oldest, 1), (least, -1)] if self._lead <= 0 else [(least, -1), (oldest, 1)]
        for order, sign in sides:
            job = order.jobs[0]
            if len(job.segment) <= room or or_any:
                if oldest is not least:
                    self._lead += sign * len(job.segment)
                return order, job
        return None

    def _oldest(self, now: float) -> Order[Item] | None:
        while self._waiting:
            order = next(iter(self._waiting))
            if self._wants(order, now):
                return order
        return None

    def _given_least(self, now: float) -> Order[Item] | None:
        while self._by_given:
            rank, number, order = self._by_given[0]
            if not self._wants(order, now):
                heappop(self._by_given)
            elif rank != _rank(order):
                heappop(self._by_given)
                heappush(self._by_given, (_rank(order), number, order))
            else:
                return order
        return None

    def _wants(self, order: Order[Item], now: float) -> bool:
        """Whether its first job can be taken; otherwise it waits no more."""
        if order.deadline <= now:
            order.jobs.clear()
        while order.jobs and order.jobs[0].taken:
            order.jobs.popleft()
        if not order.jobs:
            self._waiting.pop(order, None)
        return bool(order.jobs)

    def _forget(self, job: Job[Item]) -> None:
        del self._jobs[job.segment]
        job.taken = True  # so that no order's list gives it to a batch
        self.segments -= 1
        self.tokens -= len(job.segment)


def _rank(order: Order[Item]) -> int:
    """What an order will have been given with its next job: a small one goes before those that had as much so far."""
    return order.given + (len(order.jobs[0].segment) if order.jobs else 0)
