"""What is asked for one list of documents, and what becomes of each answer. Pure: whoever drives it has the sockets.

A conversation is a generator. It yields what to do next, an ``Ask`` or a ``Wait``, and is sent what came of it: an
``Answer`` or ``NoAnswer``, or None after a wait. Its value is what the caller wanted; it raises what the caller gets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from rerank_core.errors import DeadlineExceeded, Overloaded, RerankError, Unavailable
from rerank_core.types import Scores

from rerank_integrations import wire
from rerank_integrations.endpoints import Endpoint, Endpoints
from rerank_integrations.retries import Attempts, may_succeed_later

_RERANK = "/v1/rerank"
_INFO = "/info"
_CONNECT_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to make at once: within ``seconds`` (None: without end), of which ``connect`` for the connection."""

    endpoint: Endpoint
    method: str
    path: str
    body: bytes | None
    seconds: float | None
    connect: float

    @property
    def url(self) -> str:
        """The whole address."""
        return self.endpoint.url + self.path


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, well or ill; ``retry_after`` is the header of that name."""

    status: int
    content: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No connection, no answer within the time, or one that broke off; ``reason`` in words."""

    how: Literal["unreachable", "late", "cut off"]
    reason: str
    cause: Exception | None = None


_Result = TypeVar("_Result")
Talk: TypeAlias = Generator[Ask | Wait, Answer | NoAnswer | None, _Result]


class Conversations:
    """Talks to the servers of one client, which all have the same model and the same limits.

    - ``timeout``: seconds for a whole conversation, waits included; None: without end.
    - ``max_retries``: how often each server is asked again for the same, where that may help.
    - ``now``: a clock in seconds; ``chance``: a number in [0, 1).

    The first answer to ``GET /info`` is kept and holds for all servers. Threads and event loops may share one.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        timeout: float | None,
        max_retries: int,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._endpoints = endpoints
        self._timeout = timeout
        self._max_retries = max_retries
        self._now = now
        self._chance = chance
        self._info: wire.ServerInfo | None = None

    def score(self, question: wire.Question) -> Talk[Scores]:
        """The scores of a whole list, in as many requests as the server's limits ask for, one after the other."""
        deadline = self._now() + (math.inf if self._timeout is None else self._timeout)
        # Without a lock: the first calls may each ask, but none waits for another's time to run out.
        info = self._info
        if info is None:
            url, content = yield from self._ask("GET", _INFO, None, deadline)
            self._info = info = wire.read_info(content, url)
        answers = []
        for part in question.parts(info):
            url, content = yield from self._ask("POST", _RERANK, question.body(part), deadline, question.note(part))
            answers.append(wire.read_scores(content, url, part))
        return wire.join(answers, info)

    def _ask(
        self, method: str, path: str, body: bytes | None, deadline: float, note: str = ""
    ) -> Talk[tuple[str, bytes]]:
        """The first good answer, and the address that it came from."""
        attempts = Attempts(list(self._endpoints), self._max_retries, self._now())
        while True:
            now = self._now()
            ready = attempts.ready(now)
            if not ready:
                yield Wait(attempts.wait(now) or 0.0)
                continue
            left = deadline - now
            if left <= 0:
                raise self._late(f"{method} {path}", note)
            with self._endpoints.taken(ready, now) as endpoint:
                # A share of the time for each server that may still have to be tried, and one for the answer.
                connect = min(_CONNECT_SECONDS, left / (len(ready) + 1))
                seconds = None if left == math.inf else left
                outcome = yield Ask(endpoint, method, path, body, seconds, connect)
            if isinstance(outcome, Answer) and outcome.status == 200:
                self._endpoints.answered(endpoint)
                return endpoint.url + path, outcome.content

            now = self._now()
            error, cause = self._error(outcome, endpoint, method, path, note)
            if not may_succeed_later(error):
                if isinstance(outcome, Answer):
                    self._endpoints.answered(endpoint)
                else:
                    self._note_failure(endpoint, error, now)
                raise error from cause
            self._note_failure(endpoint, error, now)
            attempts.failed(endpoint, error.retry_after, now, self._chance())
            next_in = attempts.wait(now)
            if next_in is None or now + next_in >= deadline:
                raise self._given_up(error, attempts, next_in, left=deadline - now) from cause

    def _error(
        self, outcome: Answer | NoAnswer | None, endpoint: Endpoint, method: str, path: str, note: str
    ) -> tuple[RerankError, Exception | None]:
        """What it means that no good answer came, and where that comes from."""
        source = f"{method} {endpoint.url}{path}"
        match outcome:
            case Answer(status, content, retry_after):
                return wire.read_error(status, content, endpoint.url + path, retry_after=retry_after, note=note), None
            case NoAnswer("unreachable", reason, cause):
                asked = "is rerank-server running there, and is it ready?"
                return Unavailable(f"{endpoint.url} cannot be reached ({reason}): {asked}"), cause
            case NoAnswer("late", _, cause):
                return self._late(source, note), cause
            case NoAnswer(_, reason, cause):
                return Unavailable(f"{source} was cut off ({reason}): the server may be restarting, ask again"), cause
        raise TypeError(f"{source}: the driver sent {outcome!r} for an Ask")

    def _late(self, source: str, note: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{source} was not answered within {self._timeout:g} s: send fewer or shorter documents at once, "
            f"or wait longer with timeout={note}"
        )

    def _note_failure(self, endpoint: Endpoint, error: RerankError, now: float) -> None:
        """A server that is lost behind others would never be missed, were it not told once."""
        is_news = self._endpoints.failed(endpoint, now, error.retry_after if isinstance(error, Unavailable) else None)
        if is_news and len(self._endpoints) > 1 and not isinstance(error, Overloaded):
            _log.warning("%s is avoided until it answers again: %s", endpoint.url, error)

    def _given_up(self, error: Unavailable, attempts: Attempts, next_in: float | None, left: float) -> Unavailable:
        """The last error, with what was tried and why no more is."""
        tried = []
        if attempts.made > 1:
            where = f" at {len(self._endpoints)} addresses" if len(self._endpoints) > 1 else ""
            tried.append(f"asked {attempts.made} times{where}")
        if next_in is not None:
            room = f"timeout={self._timeout:g} leaves {max(0.0, left):.3g} s"
            tried.append(f"the next attempt is due in {next_in:.3g} s, {room}")
        if not tried:
            return error
        return type(error)(f"{error} ({'; '.join(tried)})", retry_after=error.retry_after)
