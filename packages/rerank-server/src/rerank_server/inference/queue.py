"""A fair queue for the work of all requests to one worker thread. Pure: no thread, no clock.

Work is a sequence for the model, or a batch of pairs for the tokenizer; "token" stands for the unit of size of both:
the cost of a sequence for the engine, or the characters of a batch. Work of one request may share a prefix, which is
computed with the first work item that a batch takes, and costs nothing for the others.

Each batch is divided in two halves. One half is for the request that has waited longest, so that every request is
finished: a request is never overtaken by more than its own work. The other half is for the requests that have been
served least, their next work item included, so that a small request that comes while large ones run is in the next
batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

from rerank_core.types import SharedPrefix

_STEPS = 1000  # of a forecast, about; more steps are more precise and cost more


class Work(Hashable, Protocol):
    """A unit of work. Equal ones are the same work."""

    def __len__(self) -> int:
        """The size, at least 1, where the queue has no other measure."""
        ...


WorkT = TypeVar("WorkT", bound=Work)


class Size(NamedTuple):
    """The size of work in tokens: its ``own``, and that of a ``prefix`` that it shares with work of equal ``key``."""

    own: int
    prefix: int = 0
    key: Hashable = None


@dataclass(slots=True, eq=False)
class QueuedPrefix(SharedPrefix, Generic[WorkT]):
    """A prefix of work items of one request. Those that are not completed hold it.

    ``size`` in tokens; ``taken``: whether a batch has it; ``items``: the number of items with it that no batch has.
    """

    request: QueuedRequest[WorkT]
    size: int
    taken: bool = False
    items: int = 0


@dataclass(slots=True, eq=False)
class WorkItem(Generic[WorkT]):
    """Work that is done once, for all requests that need it.

    ``own``: its tokens without its ``prefix``, which is None where it has none, and once it is completed. ``taken``:
    whether a batch has it; ``charged``: the tokens that it adds to that batch.
    """

    work: WorkT
    own: int
    prefix: QueuedPrefix[WorkT] | None = None
    requests: list[QueuedRequest[WorkT]] = field(default_factory=list)
    taken: bool = False
    charged: int = 0

    @property
    def size(self) -> int:
        """The tokens that it would add to a batch: with its prefix, unless a batch has that already."""
        return self.own if self.prefix is None or self.prefix.taken else self.own + self.prefix.size


@dataclass(slots=True, eq=False)
class QueuedRequest(Generic[WorkT]):
    """The work of one request. ``number``: by arrival; ``deadline``: after it, no work of the request is taken.

    ``served``: tokens that batches have taken for it; ``waiting``: tokens that no batch has taken yet; ``missing``: the
    work that is not completed yet. ``prefixes`` are those that somebody holds, by their keys; ``recent`` holds those of
    the work that was added last, until the next, which may have them too.
    """

    number: int
    deadline: float
    items: deque[WorkItem[WorkT]] = field(default_factory=deque)
    missing: dict[WorkT, WorkItem[WorkT]] = field(default_factory=dict)
    served: int = 0
    waiting: int = 0
    prefixes: WeakValueDictionary[Hashable, QueuedPrefix[WorkT]] = field(default_factory=WeakValueDictionary)
    recent: Sequence[QueuedPrefix[WorkT]] = ()


class Queue(Generic[WorkT]):
    """Requests and their work items. ``sequences`` and ``tokens`` count the work that no batch has taken yet.

    ``measure`` gives the size of a unit of work.
    """

    def __init__(self, measure: Callable[[WorkT], Size] = lambda work: Size(len(work))) -> None:
        self._measure = measure
        self._items: dict[WorkT, WorkItem[WorkT]] = {}
        self._waiting: dict[QueuedRequest[WorkT], None] = {}  # those with work left to take, by arrival
        self._by_served: list[tuple[int, int, QueuedRequest[WorkT]]] = []  # heap by _rank; may be out of date
        self._arrivals = 0
        self._lead = 0  # tokens that the oldest requests have had more than those that were served least
        self.sequences = 0
        self.tokens = 0

    def open(self, deadline: float) -> QueuedRequest[WorkT]:
        """Make a new request, without work yet."""
        self._arrivals += 1
        return QueuedRequest(self._arrivals, deadline)

    def add(self, request: QueuedRequest[WorkT], sequences: Iterable[WorkT]) -> None:
        """Add work to a request, in this order. Work that is in the queue already is not queued twice."""
        recent: dict[QueuedPrefix[WorkT], None] = {}
        for work in sequences:
            if work in request.missing:
                continue
            item = self._items.get(work)
            if item is None:
                item = self._items[work] = self._new_item(request, work)
            item.requests.append(request)
            request.missing[work] = item
            if not item.taken:
                request.items.append(item)
                request.waiting += item.own
            if item.prefix is not None and item.prefix.request is request:
                recent[item.prefix] = None
        request.recent = tuple(recent)
        if request.items and request not in self._waiting:
            self._waiting[request] = None
            if len(self._by_served) > 2 * len(self._waiting) + 64:  # most entries are out of date
                self._by_served = [(_rank(one), one.number, one) for one in self._waiting]
                heapify(self._by_served)
            else:
                heappush(self._by_served, (_rank(request), request.number, request))

    def drop(self, request: QueuedRequest[WorkT]) -> None:
        """Remove a request. Its work that no other request needs is never taken."""
        self._waiting.pop(request, None)
        request.items.clear()
        request.recent = ()
        for item in request.missing.values():
            item.requests.remove(request)
            if not item.requests and not item.taken:
                self._forget(item)
        request.missing.clear()
        request.waiting = 0

    def take(self, budget: int, now: float) -> list[WorkItem[WorkT]]:
        """Take the next batch: at most ``budget`` tokens, or a single work item; empty where nothing waits."""
        batch: list[WorkItem[WorkT]] = []
        room = budget
        while (found := self._next(room, now, or_any=not batch)) is not None:
            request, item = found
            item.charged = item.size
            batch.append(item)
            room -= item.charged
            request.served += item.charged
            for wanting in item.requests:
                wanting.waiting -= item.own
            self._leave(item)
            if item.prefix is not None and not item.prefix.taken:
                self._remove_prefix(item.prefix)
                item.prefix.taken = True
        return batch

    def forecast(self, coming: Mapping[QueuedRequest[WorkT], int]) -> dict[QueuedRequest[WorkT], int]:
        """For each request, the number of tokens that are taken until its last one is, if no other request comes.

        ``coming``: tokens that requests will still add. A request without waiting work is left out.
        """
        left = {
            request: request.waiting + coming.get(request, 0) for request in (self._waiting | dict.fromkeys(coming))
        }
        left = {request: tokens for request, tokens in left.items() if tokens > 0}
        total = self.tokens + sum(coming.values())  # less than the sum of all, where requests share work
        least_step = max(1, total // _STEPS)
        steps = {
            request: max(least_step, request.waiting // max(1, len(request.items))) for request in left
        }  # whole work items
        by_age = deque(sorted(left, key=lambda request: request.number))
        served = {
            request: request.served + min(steps[request], left[request]) for request in left
        }  # with the next, as _rank
        by_served = [(served[request], request.number, request) for request in left]
        heapify(by_served)
        found: dict[QueuedRequest[WorkT], int] = {}
        taken, lead = 0, self._lead
        while by_age:
            oldest, (known, number, least) = by_age[0], by_served[0]
            if not left[oldest]:
                by_age.popleft()
                continue
            if not left[least] or known != served[least]:
                heappop(by_served)
                if left[least]:
                    heappush(by_served, (served[least], number, least))
                continue
            request, sign = (oldest, 1) if lead <= 0 else (least, -1)
            tokens = min(steps[request], left[request])
            if oldest is not least:
                lead += sign * tokens
            served[request] += tokens
            left[request] -= tokens
            taken += tokens
            if not left[request]:
                found[request] = min(taken, total)
        return found

    def complete(self, item: WorkItem[WorkT]) -> list[QueuedRequest[WorkT]]:
        """Mark a work item as completed. Returns the requests that need it."""
        self._items.pop(item.work, None)
        item.prefix = None
        for request in item.requests:
            del request.missing[item.work]
        return item.requests

    def _next(self, room: int, now: float, *, or_any: bool) -> tuple[QueuedRequest[WorkT], WorkItem[WorkT]] | None:
        oldest, least = self._oldest(now), self._least_served(now)
        if oldest is None or least is None:
            return None
        sides = [(oldest, 1), (least, -1)] if self._lead <= 0 else [(least, -1), (oldest, 1)]
        for request, sign in sides:
            item = request.items[0]
            if item.size <= room or or_any:
                if oldest is not least:
                    self._lead += sign * item.size
                return request, item
        return None

    def _oldest(self, now: float) -> QueuedRequest[WorkT] | None:
        while self._waiting:
            request = next(iter(self._waiting))
            if self._wants(request, now):
                return request
        return None

    def _least_served(self, now: float) -> QueuedRequest[WorkT] | None:
        while self._by_served:
            rank, number, request = self._by_served[0]
            if not self._wants(request, now):
                heappop(self._by_served)
            elif rank != _rank(request):
                heappop(self._by_served)
                heappush(self._by_served, (_rank(request), number, request))
            else:
                return request
        return None

    def _wants(self, request: QueuedRequest[WorkT], now: float) -> bool:
        """Whether the first work item of a request can be taken; a request without one waits no more."""
        if request.deadline <= now:
            request.items.clear()
        while request.items and request.items[0].taken:
            request.items.popleft()
        if not request.items:
            self._waiting.pop(request, None)
        return bool(request.items)

    def _new_item(self, request: QueuedRequest[WorkT], work: WorkT) -> WorkItem[WorkT]:
        size, prefix = self._measure(work), None
        if size.prefix:
            prefix = request.prefixes.get(size.key)
            if prefix is None:
                prefix = request.prefixes[size.key] = QueuedPrefix(request, size.prefix)
            if not prefix.items and not prefix.taken:
                self.tokens += prefix.size
                request.waiting += prefix.size
            prefix.items += 1
        self.sequences += 1
        self.tokens += size.own
        return WorkItem(work, size.own, prefix)

    def _leave(self, item: WorkItem[WorkT]) -> None:
        """Count an item no longer."""
        item.taken = True
        self.sequences -= 1
        self.tokens -= item.own
        if item.prefix is not None:
            item.prefix.items -= 1

    def _remove_prefix(self, prefix: QueuedPrefix[WorkT]) -> None:
        """Count the tokens of a prefix no longer."""
        self.tokens -= prefix.size
        prefix.request.waiting -= prefix.size

    def _forget(self, item: WorkItem[WorkT]) -> None:
        del self._items[item.work]
        self._leave(item)  # taken, so that no batch takes it from the list of a request
        prefix, item.prefix = item.prefix, None
        if prefix is not None and not prefix.items and not prefix.taken:
            self._remove_prefix(prefix)


def _rank(request: QueuedRequest[WorkT]) -> int:
    """The tokens that a request has been served, its next work item included: a small item goes first."""
    return request.served + (request.items[0].size if request.items else 0)
