"""Makes the requests of flows: in threads that wait, or as tasks of an event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TypeVar

import httpx

from rerank_integrations.http.balancer import Balancer
from rerank_integrations.http.connections import Connections, Trace
from rerank_integrations.http.flow import (
    Answer,
    HedgedRequest,
    LivenessCheck,
    Outcome,
    Outcomes,
    RequestFlow,
    SendRequest,
    Sleep,
    TransportFailure,
    is_final,
)
from rerank_integrations.http.streams import Watcher, watched

_LOOK_SECONDS = 0.02  # between two looks at a request of another thread
_MAX_ERROR_BYTES = 65_536
_MAX_REASON = 200  # characters

_Result = TypeVar("_Result")
Headers = Callable[[SendRequest], dict[str, str]]


class Driver:
    """Runs flows over the connections of one process.

    ``headers`` makes those of a request; it is called in the caller's thread or event loop. ``now`` is the clock of
    ``balancer``, ``sleep`` and ``async_sleep`` wait.
    """

    def __init__(
        self,
        connections: Connections,
        balancer: Balancer,
        *,
        headers: Headers,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        async_sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._connections = connections
        self._balancer = balancer
        self._headers = headers
        self._now = now
        self._sleep = sleep
        self._async_sleep = async_sleep

    def drive(self, flow: RequestFlow[_Result]) -> _Result:
        """Run a flow to its end, in this thread."""
        outcome: Outcome | Outcomes | None = None
        with closing(flow):
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    result: _Result = end.value
                    return result
                match step:
                    case Sleep(seconds):
                        self._sleep(seconds)
                        outcome = None
                    case HedgedRequest():
                        outcome = self._send_hedged(step)
                    case SendRequest():
                        outcome = self._send(step, self._headers(step))

    async def adrive(self, flow: RequestFlow[_Result]) -> _Result:
        """Run a flow to its end, in this event loop."""
        outcome: Outcome | Outcomes | None = None
        with closing(flow):
            while True:
                try:
                    step = flow.send(outcome)
                except StopIteration as end:
                    result: _Result = end.value
                    return result
                match step:
                    case Sleep(seconds):
                        await self._async_sleep(seconds)
                        outcome = None
                    case HedgedRequest():
                        outcome = await self._asend_hedged(step)
                    case SendRequest():
                        outcome = await self._asend(step, self._headers(step))

    # Threads: a request is watched by the thread that waits for it.

    def _send_hedged(self, hedged: HedgedRequest) -> Outcomes:
        rival = _Rival(hedged, self._start)
        outcome = self._send(hedged.first, self._headers(hedged.first), rival)
        ended: Outcomes = [] if outcome is _BROKEN_OFF else [(hedged.first, outcome)]
        if not is_final(outcome):
            ended += rival.wait()
        rival.stop()
        return ended

    def _start(self, request: SendRequest) -> _Runner | None:
        """Make a request in a thread of its own; None where no thread can be started any more."""
        headers = self._headers(request)
        runner = _Runner(lambda stopped: self._send(request, headers, stopped), request)
        return runner if runner.start() else None

    def _send(self, request: SendRequest, headers: dict[str, str], *watchers: Watcher) -> Outcome:
        watchers = (_Deadline(request.seconds), *watchers)
        check = request.check
        pulse = (
            () if check is None else (_Pulse(check, partial(self._lives, check, [_Outer(one) for one in watchers])),)
        )
        try:
            with watched(*watchers, *pulse):
                return self._exchange(request, headers)
        except _BrokenOffError as broken:
            return broken.outcome

    def _lives(self, check: LivenessCheck, outer: Sequence[Watcher]) -> bool:
        """Return whether the server says anything at all; what it said to others a moment ago counts.

        ``outer`` may end the question, where the request that waits for it is over.
        """
        endpoint = check.request.endpoint
        if self._balancer.was_alive(endpoint, self._now()):
            return True
        outcome = self._send(check.request, {}, *outer)
        if _is_silence(outcome):
            return False
        if outcome is not _BROKEN_OFF:
            self._balancer.is_alive(endpoint, self._now())
        return True

    def _exchange(self, request: SendRequest, headers: dict[str, str]) -> Outcome:
        trace = self._connections.trace()
        clients = self._connections.clients()
        client = (clients.fresh if request.fresh else clients.pooled)[request.endpoint]
        try:
            with client.stream(
                request.method,
                request.url,
                content=request.body,
                headers=headers | _HEADERS,
                timeout=_timeouts(request),
                extensions={"trace": trace.note},
            ) as response:
                reading = _Reading(request, response)
                for piece in response.iter_raw():
                    if reading.is_full(piece):
                        break
            return request.read(reading.answer())
        except httpx.RequestError as error:
            return self._failure(error, request, trace)
        except RuntimeError as error:
            if not client.is_closed:
                raise
            return TransportFailure("cut off", "the scorer was closed meanwhile", error)

    # An event loop: a request is a task.

    async def _asend_hedged(self, hedged: HedgedRequest) -> Outcomes:
        running = {asyncio.ensure_future(self._asend(hedged.first, self._headers(hedged.first))): hedged.first}
        ended: Outcomes = []
        async with _cancelled_at_the_end(running):
            await asyncio.wait(running, timeout=hedged.after)
            if not any(task.done() for task in running):
                second = hedged.second()
                if second is not None:
                    running[asyncio.ensure_future(self._asend(second, self._headers(second)))] = second
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                ended += [(running.pop(task), task.result()) for task in done]
                if any(is_final(outcome) for _, outcome in ended):
                    break
        return ended

    async def _asend(self, request: SendRequest, headers: dict[str, str]) -> Outcome:
        if request.check is None:
            return await self._aexchange(request, headers)
        exchange = asyncio.ensure_future(self._aexchange(request, headers))
        tasks = {exchange}
        async with _cancelled_at_the_end(tasks):
            await asyncio.wait({exchange}, timeout=request.check.after)
            while not exchange.done():
                if not self._balancer.was_alive(request.endpoint, self._now()):
                    probe = asyncio.ensure_future(self._aexchange(request.check.request, {}))
                    tasks.add(probe)
                    await asyncio.wait({exchange, probe}, return_when=asyncio.FIRST_COMPLETED)
                    if exchange.done():
                        break
                    if _is_silence(probe.result()):
                        return _stuck(request.check)
                    tasks.remove(probe)
                    self._balancer.is_alive(request.endpoint, self._now())
                await asyncio.wait({exchange}, timeout=request.check.again)
            return exchange.result()

    async def _aexchange(self, request: SendRequest, headers: dict[str, str]) -> Outcome:
        trace = self._connections.trace()
        clients = await self._connections.loop_clients()
        client = (clients.fresh if request.fresh else clients.pooled)[request.endpoint]
        try:
            async with (
                asyncio.timeout(request.seconds),
                client.stream(
                    request.method,
                    request.url,
                    content=request.body,
                    headers=headers | _HEADERS,
                    timeout=_timeouts(request),
                    extensions={"trace": trace.anote},
                ) as response,
            ):
                reading = _Reading(request, response)
                async for piece in response.aiter_raw():
                    if reading.is_full(piece):
                        break
            return request.read(reading.answer())
        except TimeoutError as error:
            return _late(error)
        except httpx.RequestError as error:
            return self._failure(error, request, trace)
        except RuntimeError as error:
            if not client.is_closed:
                raise
            return TransportFailure("cut off", "the scorer was closed meanwhile", error)

    def _failure(self, error: httpx.RequestError, request: SendRequest, trace: Trace) -> TransportFailure:
        proxy = self._connections.proxy(request.endpoint)
        through = f", through the proxy of {proxy.variable}" if proxy else ""
        said = f"{error}"[:_MAX_REASON]
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            reason = said or f"no connection within {request.connect:.3g} s"
            return TransportFailure(
                "unreachable", reason + through, error, is_silence=isinstance(error, httpx.ConnectTimeout)
            )
        if isinstance(error, httpx.TimeoutException):
            return TransportFailure("late", said, error, is_silence=not isinstance(error, httpx.PoolTimeout))
        reason = f"{type(error).__name__}: {said}{through}"
        return TransportFailure("cut off", reason, error, on_used_connection=not trace.has_connected)


# What is sent is small beside what is computed for it; an answer that is not compressed has the size that it seems to.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}


class _Reading:
    """An answer as it comes in, no more of it than there should be."""

    def __init__(self, request: SendRequest, response: httpx.Response) -> None:
        self._response = response
        self._limit = request.max_bytes if response.status_code == 200 else _MAX_ERROR_BYTES
        self._content = bytearray()
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        self._unusable = None if coding in ("", "identity") else f"is encoded as {coding[:_MAX_REASON]!r}, unasked"

    def is_full(self, piece: bytes) -> bool:
        """Take a piece, and say whether that is enough."""
        self._content += piece
        if len(self._content) > self._limit:
            self._unusable = self._unusable or f"has more than {self._limit} bytes"
        return self._unusable is not None

    def answer(self) -> Answer:
        """Return the answer that has come."""
        content = bytes(self._content[: self._limit])
        retry_after = self._response.headers.get("Retry-After")
        return Answer(self._response.status_code, content, retry_after, self._unusable)


class _BrokenOffError(Exception):
    """Ends a request from within, at the place where it waits."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


_BROKEN_OFF = TransportFailure("cut off", "another server answered first")


class _Deadline:
    """Ends a request whose time is over: httpx counts from each piece anew, so that a slow drip would have no end."""

    def __init__(self, seconds: float | None) -> None:
        self.due = math.inf if seconds is None else time.monotonic() + seconds

    def look(self) -> Exception | None:
        return _BrokenOffError(_late(None))


class _Pulse:
    """Ends a request to a server that has stopped."""

    def __init__(self, check: LivenessCheck, lives: Callable[[], bool]) -> None:
        self._check = check
        self._lives = lives
        self.due = time.monotonic() + check.after

    def look(self) -> Exception | None:
        is_alive = self._lives()
        self.due = time.monotonic() + self._check.again
        return None if is_alive else _BrokenOffError(_stuck(self._check))


class _Outer:
    """Ends the question whether a server lives where another watcher would end the request that waits for it."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    @property
    def due(self) -> float:
        return self._watcher.due

    def look(self) -> Exception | None:
        return None if self._watcher.look() is None else _BrokenOffError(_BROKEN_OFF)


class _Stopped:
    """Ends a request that is no longer wanted."""

    def __init__(self) -> None:
        self._is_set = False
        self.due = math.inf
        self._wait()

    def stop(self) -> None:
        self._is_set = True

    def look(self) -> Exception | None:
        self._wait()
        return _BrokenOffError(_BROKEN_OFF) if self._is_set else None

    def _wait(self) -> None:
        self.due = time.monotonic() + _LOOK_SECONDS


class _Runner:
    """A request in a thread of its own."""

    def __init__(self, send: Callable[[Watcher], Outcome], request: SendRequest) -> None:
        self.request = request
        self.outcome: Outcome | None = None
        self.stopped = _Stopped()
        self._send = send
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> bool:
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is about to end
            return False
        return True

    def wait(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        self.outcome = self._send(self.stopped)


class _Rival:
    """Starts the second request of a hedged one when it is due, and ends the first when the second has settled it."""

    def __init__(self, hedged: HedgedRequest, start: Callable[[SendRequest], _Runner | None]) -> None:
        self._hedged = hedged
        self._start = start
        self._runner: _Runner | None = None
        self._is_started = False
        self.due = time.monotonic() + hedged.after

    def look(self) -> Exception | None:
        if not self._is_started:
            self._is_started = True
            second = self._hedged.second()
            self._runner = None if second is None else self._start(second)
        outcome = self._runner.outcome if self._runner else None
        if outcome is not None and is_final(outcome):
            return _BrokenOffError(_BROKEN_OFF)
        is_running = self._runner is not None and outcome is None
        self.due = time.monotonic() + _LOOK_SECONDS if is_running else math.inf
        return None

    def wait(self) -> Outcomes:
        """Return what came of the second request, where there is one, once it has ended."""
        if self._runner is None:
            return []
        self._runner.wait()
        return [] if self._runner.outcome is None else [(self._runner.request, self._runner.outcome)]

    def stop(self) -> None:
        """Break the second request off."""
        if self._runner is not None:
            self._runner.stopped.stop()


@asynccontextmanager
async def _cancelled_at_the_end(tasks: Collection[asyncio.Future[Outcome]]) -> AsyncIterator[None]:
    """Cancel the tasks that are there when the block ends, and wait until they are gone."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _late(error: Exception | None) -> TransportFailure:
    return TransportFailure("late", "its answer came too slowly", error, is_silence=True)


def _stuck(check: LivenessCheck) -> TransportFailure:
    return TransportFailure(
        "stuck", f"took the connection and said nothing for {check.request.seconds:.3g} s: it is stopped or stuck"
    )


def _is_silence(outcome: Outcome) -> bool:
    return isinstance(outcome, TransportFailure) and outcome.is_silence


def _timeouts(request: SendRequest) -> httpx.Timeout:
    return httpx.Timeout(request.seconds, connect=request.connect)
