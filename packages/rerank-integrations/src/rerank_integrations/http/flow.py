"""The flow of requests for one list of documents. Pure: it decides from each outcome, the driver has the sockets.

A flow is a generator. It yields the next step and is sent its outcome: for a ``SendRequest`` a ``TransportFailure``, or
the result of its ``read``; for a ``HedgedRequest`` the outcomes of its requests that ended, and None after a ``Sleep``.
It returns what the caller wanted, or raises what the caller gets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from rerank_core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    Overloaded,
    RerankError,
    Unauthorized,
    Unavailable,
)
from rerank_core.progress import Advance
from rerank_core.types import Scores

from rerank_integrations.http import protocol
from rerank_integrations.http.balancer import Balancer, Endpoint
from rerank_integrations.http.retries import Attempts, may_succeed_later

_RERANK = "/v1/rerank"
_INFO = "/info"
_LIVEZ = "/livez"
_CONNECT_SECONDS = 10.0
_CONNECT_SECONDS_AMONG_SEVERAL = 2.5

# A server is asked whether it lives once a request has waited so long, and has so long to say so. One that is alone has
# longer: there is nobody else to go to, and a machine that is only overloaded may be late with everything.
_QUIET_SECONDS = 0.75
_LIFE_SECONDS = 1.25
_LIFE_SECONDS_ALONE = 10.0
_LIFE_AGAIN_SECONDS = 2.0
_LEAST_SECONDS_TO_CHECK = 1.0
_MAX_LIFE_BYTES = 65_536

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Make a request at once: within ``seconds`` (None: without end), of which ``connect`` for the connection.

    - ``read``: makes the outcome of an answer.
    - ``max_bytes``: more than a whole answer can have.
    - ``fresh``: make it on a new connection.
    - ``check``: how to see in the meantime whether the server lives; None: wait for the answer alone.
    """

    endpoint: Endpoint
    method: str
    path: str
    body: bytes | None
    seconds: float | None
    connect: float
    read: Callable[[Answer], Success | Refusal]
    max_bytes: int
    fresh: bool = False
    check: LivenessCheck | None = None

    @property
    def url(self) -> str:
        """The whole address."""
        return self.endpoint.url + self.path


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """Make ``request`` when the other has waited for ``after`` seconds, and again every ``again`` seconds.

    A server that says nothing to it is stuck, whatever it would say proves that it lives.
    """

    after: float
    again: float
    request: SendRequest


@dataclass(frozen=True, slots=True)
class HedgedRequest:
    """Make the request ``first``, and a second one where no answer has come after ``after`` seconds.

    ``second`` chooses it when it is due; None: nobody else can be asked. It is over with the first outcome that
    ``is_final``, and the other request is broken off; or when all requests have ended.
    """

    first: SendRequest
    second: Callable[[], SendRequest | None]
    after: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer, good or an error; ``retry_after`` is the header of that name.

    ``unusable`` is why ``content`` cannot be used, in words that go on from "its answer".
    """

    status: int
    content: bytes
    retry_after: str | None = None
    unusable: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """A good answer; ``value`` is what was read from it."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error, or that cannot be read. ``is_final`` where every server would answer so."""

    error: RerankError
    is_final: bool


@dataclass(frozen=True, slots=True)
class TransportFailure:
    """There was no connection, no answer within the time, or one that broke off; ``reason`` in words.

    ``is_silence`` where the time ran out without a word from the server. ``on_used_connection`` where the connection
    was there before, so that the server may have closed it while it was idle.
    """

    how: Literal["unreachable", "late", "cut off", "stuck"]
    reason: str
    cause: Exception | None = None
    is_silence: bool = False
    on_used_connection: bool = False


Outcome: TypeAlias = Success | Refusal | TransportFailure
Outcomes: TypeAlias = list[tuple[SendRequest, Outcome]]
"""The requests that ended, each with its outcome."""

_Result = TypeVar("_Result")
RequestFlow: TypeAlias = Generator[SendRequest | HedgedRequest | Sleep, Outcome | Outcomes | None, _Result]


class ServerSilent(DeadlineExceeded):
    """The time ran out, and until then the server did not even say that it lives: it is stopped or stuck."""


def is_final(outcome: Outcome) -> bool:
    """Return whether the caller gets it: a good answer, or an error that would be the same from any server."""
    return isinstance(outcome, Success) or (isinstance(outcome, Refusal) and outcome.is_final)


def read_answer(
    answer: Answer, *, method: str, url: str, read: Callable[[bytes, str], object], note: str = ""
) -> Success | Refusal:
    """Make the outcome of an answer; ``read`` reads the content of a good one, and raises ``ModelError``.

    What cannot be read is a failure of this one server: another may be what this one is not. So is an error that is no
    rerank-server's, but for one of time or of the API key, which are the same for all. ``note`` is added to an error.
    """
    if answer.status != 200:
        own = protocol.read_own_error(answer.content, retry_after=answer.retry_after, note=note)
        error = own or protocol.foreign_error(
            answer.status, answer.content, url, retry_after=answer.retry_after, note=note
        )
        is_final = own is not None or isinstance(error, DeadlineExceeded | Unauthorized)
        return Refusal(error, is_final=is_final and not may_succeed_later(error))
    if answer.unusable:
        return Refusal(ModelError(f"{method} {url} answered 200, but its answer {answer.unusable}"), is_final=False)
    try:
        return Success(read(answer.content, url))
    except ModelError as error:
        return Refusal(error, is_final=False)


class RequestFlows:
    """Makes the flows of one client, whose servers all have the same model and the same limits.

    - ``timeout``: seconds for a whole flow, waits included; None: without end.
    - ``max_retries``: how often each server is asked again for the same, where that may help.
    - ``hedge_after``: seconds after which a second server is asked too; None: never.
    - ``now``: a clock in seconds; ``chance``: a number in [0, 1).

    The first answer to ``GET /info`` is kept and holds for all servers. Threads and event loops may share one.
    """

    def __init__(
        self,
        balancer: Balancer,
        *,
        timeout: float | None,
        max_retries: int,
        hedge_after: float | None = None,
        now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._balancer = balancer
        self._timeout = timeout
        self._max_retries = max_retries
        self._hedge_after = hedge_after
        self._now = now
        self._random = chance
        self._info: protocol.ServerInfo | None = None

    def info(self) -> RequestFlow[protocol.ServerInfo]:
        """Get the server's description of itself."""
        return self._server_info(self._deadline())

    def score(self, question: protocol.Question, advance: Advance | None = None) -> RequestFlow[Scores]:
        """Score a whole list, in as many requests as the server's limits ask for, one after the other.

        ``advance`` is called after each with the number of its documents.
        """
        deadline = self._deadline()
        info = yield from self._server_info(deadline)
        question = question.fitted(info)
        answers = []
        for part in question.parts(info):
            try:
                answers.append((yield from self._score_part(question, part, deadline)))
            except InvalidRequest as error:
                shortened = question.shortened(info)
                if type(error) is not InvalidRequest or shortened is question:
                    raise
                # A server that refuses long texts, where others cut what the model cannot read.
                question = shortened
                answers.append((yield from self._score_part(question, part, deadline)))
            if advance is not None:
                advance(len(part))
        return protocol.join(answers, info, question.options)

    def _deadline(self) -> float:
        return self._now() + (math.inf if self._timeout is None else self._timeout)

    def _server_info(self, deadline: float) -> RequestFlow[protocol.ServerInfo]:
        # Without a lock: the first calls may each ask, but none waits for another's time to run out.
        if self._info is None:
            self._info = yield from self._ask(
                "GET", _INFO, None, deadline, read=protocol.read_info, max_bytes=protocol.MAX_INFO_BYTES
            )
        return self._info

    def _score_part(self, question: protocol.Question, part: range, deadline: float) -> RequestFlow[Scores]:
        return (
            yield from self._ask(
                "POST",
                _RERANK,
                question.body(part),
                deadline,
                read=partial(protocol.read_scores, part=part, question=question),
                max_bytes=question.max_answer_bytes(part),
                note=question.note(part),
            )
        )

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        deadline: float,
        *,
        read: Callable[[bytes, str], _Result],
        max_bytes: int,
        note: str = "",
    ) -> RequestFlow[_Result]:
        """Get the first good answer, as ``read`` makes it of the content and the address that it came from."""
        attempts = Attempts(list(self._balancer), self._max_retries, self._now())
        stale: set[Endpoint] = set()  # servers that closed a connection, so that the next one should be new
        while True:
            now = self._now()
            ready = attempts.ready(now)
            if not ready:
                yield Sleep(attempts.wait(now) or 0.0)
                continue
            if deadline - now <= 0:
                raise self._late(f"{method} {path}", note)

            asked_at = now
            with ExitStack() as in_hand:

                def next_request(among: list[Endpoint], now: float, in_hand: ExitStack = in_hand) -> SendRequest:
                    endpoint = in_hand.enter_context(self._balancer.acquire(among, now))
                    left = deadline - now
                    # A share of the time for each server that may still have to be tried, and one for the answer.
                    longest = _CONNECT_SECONDS if len(self._balancer) == 1 else _CONNECT_SECONDS_AMONG_SEVERAL
                    connect = min(longest, left / (len(among) + 1))
                    return SendRequest(
                        endpoint,
                        method,
                        path,
                        body,
                        seconds=None if left == math.inf else left,
                        connect=connect,
                        read=partial(read_answer, method=method, url=endpoint.url + path, read=read, note=note),
                        max_bytes=max_bytes,
                        fresh=endpoint in stale,
                        check=self._check(endpoint, left),
                    )

                first = next_request(ready, now)
                ended = yield from self._outcomes(first, next_request, attempts)

            now = self._now()
            for request, outcome in ended:
                if is_final(outcome):
                    if request is not first and all(other is not first for other, _ in ended):
                        self._note_outrun(first, now)
                    self._balancer.answered(request.endpoint, now)
                    if isinstance(outcome, Success):
                        result: _Result = outcome.value
                        return result
                    error, cause = self._error(outcome, request, note)
                    raise error from cause

            given_up: tuple[RerankError, BaseException | None] | None = None
            for request, outcome in ended:
                # No failure: the server had closed an idle connection, and is asked again at once.
                is_stale = isinstance(outcome, TransportFailure) and outcome.on_used_connection
                if is_stale and request.endpoint not in stale:
                    stale.add(request.endpoint)
                    continue
                error, cause = self._error(outcome, request, note)
                if self._was_silent(outcome, request, asked_at):
                    source = f"{method} {request.url} was not answered within {self._timeout:g} s"
                    error = ServerSilent(f"{source}, and neither was {_LIVEZ}: the server is stopped or stuck{note}")
                self._note_failure(request.endpoint, error, now)
                if may_succeed_later(error):
                    attempts.failed(request.endpoint, error.retry_after, now, self._random())
                elif isinstance(outcome, Refusal):  # this server would answer so again
                    attempts.give_up(request.endpoint)
                else:
                    raise error from cause
                given_up = error, cause
            if given_up is None:
                continue
            next_in = attempts.wait(now)
            if next_in is None or now + next_in >= deadline:
                error, cause = given_up
                raise self._given_up(error, attempts, next_in, left=deadline - now) from cause

    def _outcomes(
        self, first: SendRequest, next_request: Callable[[list[Endpoint], float], SendRequest], attempts: Attempts
    ) -> RequestFlow[Outcomes]:
        """Get the outcome of a request, and of a second one where the first was slow."""

        def second() -> SendRequest | None:
            now = self._now()
            others = [endpoint for endpoint in attempts.ready(now) if endpoint != first.endpoint]
            return next_request(others, now) if others else None

        if self._hedge_after is None or len(self._balancer) == 1:
            outcome = yield first
            if not isinstance(outcome, Success | Refusal | TransportFailure):
                raise TypeError(f"the driver sent {outcome!r} for a SendRequest")
            return [(first, outcome)]
        ended = yield HedgedRequest(first, second, self._hedge_after)
        if not isinstance(ended, list):
            raise TypeError(f"the driver sent {ended!r} for a HedgedRequest")
        return ended

    def _check(self, endpoint: Endpoint, left: float) -> LivenessCheck | None:
        """Decide how to check that a server lives, while a request to it has ``left`` seconds."""
        if left < _LEAST_SECONDS_TO_CHECK:
            return None
        is_alone = len(self._balancer) == 1
        # With little time left, half of it is for another server.
        after = min(_QUIET_SECONDS, left / 4)
        seconds = _LIFE_SECONDS_ALONE if is_alone else min(_LIFE_SECONDS, left / 4)
        return LivenessCheck(
            after,
            _LIFE_AGAIN_SECONDS,
            SendRequest(endpoint, "GET", _LIVEZ, None, seconds, seconds, Success, _MAX_LIFE_BYTES, fresh=True),
        )

    def _was_silent(self, outcome: Outcome, request: SendRequest, asked_at: float) -> bool:
        """Return whether the time ran out on a server that was asked whether it lives, and said nothing."""
        is_late = isinstance(outcome, TransportFailure) and outcome.how == "late"
        if not is_late or request.check is None:
            return False
        return not self._balancer.was_alive(request.endpoint, asked_at + request.check.after)

    def _error(self, outcome: Outcome, request: SendRequest, note: str) -> tuple[RerankError, BaseException | None]:
        """Make the error of an outcome that is no good answer, and return it with its cause."""
        source = f"{request.method} {request.url}"
        match outcome:
            case Success():
                raise TypeError(f"{source} was answered well")
            case Refusal(error):
                return error, error.__cause__
            case TransportFailure("unreachable", reason, cause):
                asked = "is rerank-server running there, and is it ready?"
                return Unavailable(f"{request.endpoint.url} cannot be reached ({reason}): {asked}"), cause
            case TransportFailure("stuck", reason, cause):
                return Unavailable(f"{source} is not answered, and neither is {_LIVEZ}: the server {reason}"), cause
            case TransportFailure("late", _, cause):
                return self._late(source, note), cause
            case TransportFailure(_, reason, cause):
                return Unavailable(f"{source} was cut off ({reason}): the server may be restarting, ask again"), cause

    def _late(self, source: str, note: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"{source} was not answered within {self._timeout:g} s: send fewer or shorter documents at once, "
            f"or wait longer with timeout={note}"
        )

    def _note_failure(self, endpoint: Endpoint, error: RerankError, now: float) -> None:
        """Log the first failure in a row: nobody else notices that one of several servers is lost."""
        retry_after = error.retry_after if isinstance(error, Unavailable) else None
        first_failure = self._balancer.failed(endpoint, now, retry_after)
        if first_failure and len(self._balancer) > 1 and not isinstance(error, Overloaded):
            _log.warning("%s is avoided until it answers again: %s", endpoint.url, error)

    def _note_outrun(self, request: SendRequest, now: float) -> None:
        if self._balancer.outrun(request.endpoint, now):
            _log.warning(
                "%s is avoided until it answers again: it was slower than hedge_after=%g s several times in a row",
                request.endpoint.url,
                self._hedge_after,
            )

    def _given_up(self, error: RerankError, attempts: Attempts, next_in: float | None, left: float) -> RerankError:
        """Return the last error, with what was tried and why no more is."""
        tried = []
        if attempts.made > 1:
            where = f" at {len(self._balancer)} addresses" if len(self._balancer) > 1 else ""
            tried.append(f"asked {attempts.made} times{where}")
        if next_in is not None:
            room = f"timeout={self._timeout:g} leaves {max(0.0, left):.3g} s"
            tried.append(f"the next attempt is due in {next_in:.3g} s, {room}")
        if not tried:
            return error
        message = f"{error} ({'; '.join(tried)})"
        if isinstance(error, Unavailable):
            return type(error)(message, retry_after=error.retry_after)
        return type(error)(message)
