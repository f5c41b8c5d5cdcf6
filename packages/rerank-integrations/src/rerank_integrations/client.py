"""Scores by asking a rerank-server, or one of several."""

from __future__ import annotations

import asyncio
import base64
import random
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from rerank_core.errors import InvalidRequest
from rerank_core.scoring import as_pairs, score_options
from rerank_core.types import ScoreOptions, Scores

from rerank_integrations import wire
from rerank_integrations.api_key import ApiKey
from rerank_integrations.conversation import Answer, Ask, Conversations, NoAnswer, Talk, Wait
from rerank_integrations.endpoints import Endpoint, Endpoints

# Idle connections go before the server closes them (uvicorn: after 5 s), so that no request meets a closing door.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)
_SHORTEST = 0.001  # seconds; the server refuses a request that may take none


class HTTPScorer:
    """A ``Scorer`` and an ``AsyncScorer`` that asks a rerank-server. Threads and event loops may share one.

    - ``base_url``: where the server is, such as ``http://localhost:8000``; or several servers of the same model and
      the same settings. Each request goes to the one that has the fewest of ours in hand. One that cannot be reached
      or has no room is left out for some seconds, and the others are asked at once.
    - ``api_key``: sent as a bearer token; never shown. A callable is asked before each request, in the caller's
      thread or event loop, so that a key may change. None: what ``RERANK_API_KEY`` is when the scorer is made; an
      empty string: no key.
    - ``timeout``: seconds for a whole call, all its requests and waits included; the server is told what is left of
      them. None waits without end.
    - ``max_retries``: how often each server is asked again where the same request may succeed later: it cannot be
      reached, breaks off, is overloaded (429) or unavailable (502, 503). It waits as long as the server says in
      ``Retry-After``, else a random time of up to 0.5, 1, 2 ... 8 seconds, and never past ``timeout``.

    The server's limits are read with the first request and kept; a list beyond them is sent in parts, one by one.
    Connections stay open for the next call, until ``close`` or ``aclose``, or the end of a ``with``; a scorer that is
    used again afterwards opens new ones.

    Raises ``InvalidRequest`` for an argument that cannot be.
    """

    # The world outside, where a test may put its own.
    _now = staticmethod(time.monotonic)
    _chance = staticmethod(random.random)
    _sleep = staticmethod(time.sleep)
    _asleep = staticmethod(asyncio.sleep)

    def __init__(
        self,
        base_url: str | Sequence[str],
        *,
        api_key: str | Callable[[], str] | None = None,
        timeout: float | None = 300.0,
        max_retries: int = 3,
    ) -> None:
        urls = [base_url] if isinstance(base_url, str) else base_url
        endpoints = list(dict.fromkeys(_endpoint(url) for url in urls))
        if not endpoints:
            raise InvalidRequest("base_url is an empty list: use an address like http://localhost:8000")
        self._endpoints = Endpoints(endpoints)
        self._api_key = ApiKey.of(api_key)
        if timeout is not None and not timeout > 0:
            raise InvalidRequest(f"timeout is {timeout}: use seconds above 0, or None to wait without end")
        if max_retries < 0:
            raise InvalidRequest(f"max_retries is {max_retries}: use 0 to ask once, or more")
        self._timeout = timeout
        self._max_retries = max_retries
        self._conversations = Conversations(
            self._endpoints, timeout=timeout, max_retries=max_retries, now=self._now, chance=self._chance
        )
        self._lock = threading.Lock()  # never held while waiting: event loops take it too
        self._client: httpx.Client | None = None
        self._async_clients: dict[asyncio.AbstractEventLoop, _AsyncClient] = {}

    def __repr__(self) -> str:
        urls = self.base_urls
        return f"HTTPScorer({urls[0] if len(urls) == 1 else list(urls)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied without its connections; with its key."""
        options = {"timeout": self._timeout, "max_retries": self._max_retries}
        return _again, (type(self), tuple(self._endpoints), self._api_key, options)

    @property
    def base_url(self) -> str:
        """Where the server is, or the first of several, without the password that the address may hold."""
        return self.base_urls[0]

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Where the servers are, without passwords."""
        return tuple(endpoint.url for endpoint in self._endpoints)

    def score(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """See ``Scorer.score``.

        Also raises ``Unavailable`` where no server can be reached, ``Overloaded`` where none has room,
        ``DeadlineExceeded`` where none answers in time, ``Unauthorized`` where the key is not taken or ``api_key()``
        has none, and ``ModelError`` for an answer that is not complete.
        """
        question = _question(query, documents, score_options(options, raw=raw, truncate=truncate))
        return self._drive(self._conversations.score(question))

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """As ``score``, without holding the thread."""
        question = _question(query, documents, score_options(options, raw=raw, truncate=truncate))
        return await self._adrive(self._conversations.score(question))

    def close(self) -> None:
        """Close the connections that ``score`` opened."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those that ``score`` opened."""
        self.close()
        with self._lock:
            client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.closing.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _drive(self, talk: Talk[Scores]) -> Scores:
        outcome: Answer | NoAnswer | None = None
        with closing(talk):
            while True:
                try:
                    step = talk.send(outcome)
                except StopIteration as end:
                    scores: Scores = end.value
                    return scores
                if isinstance(step, Wait):
                    self._sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)

    async def _adrive(self, talk: Talk[Scores]) -> Scores:
        outcome: Answer | NoAnswer | None = None
        with closing(talk):
            while True:
                try:
                    step = talk.send(outcome)
                except StopIteration as end:
                    scores: Scores = end.value
                    return scores
                if isinstance(step, Wait):
                    await self._asleep(step.seconds)
                    outcome = None
                else:
                    outcome = await self._asend(step)

    def _send(self, ask: Ask) -> Answer | NoAnswer:
        until = None if ask.seconds is None else self._now() + ask.seconds
        headers = self._headers(ask)
        try:
            with self._sync_client().stream(
                ask.method, ask.url, content=ask.body, headers=headers, timeout=_timeouts(ask)
            ) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    # httpx counts from each piece anew, so that a server that drips would have no end.
                    if until is not None and self._now() > until:
                        return NoAnswer("late", "its answer came too slowly")
                return _answer(response, bytes(content))
        except httpx.RequestError as error:
            return _no_answer(error, ask)

    async def _asend(self, ask: Ask) -> Answer | NoAnswer:
        headers = self._headers(ask)
        client = await self._async_client()
        try:
            async with asyncio.timeout(ask.seconds):
                response = await client.http.request(
                    ask.method, ask.url, content=ask.body, headers=headers, timeout=_timeouts(ask)
                )
        except TimeoutError as error:
            return NoAnswer("late", "its answer came too slowly", error)
        except httpx.RequestError as error:
            return _no_answer(error, ask)
        return _answer(response, response.content)

    def _headers(self, ask: Ask) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := self._api_key.now():
            headers["Authorization"] = f"Bearer {key}"
        if ask.endpoint.authorization:
            headers["Authorization"] = ask.endpoint.authorization
        if ask.seconds is not None:
            headers["X-Request-Timeout"] = f"{max(_SHORTEST, ask.seconds):.3f}"
        return headers

    def _sync_client(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(limits=_LIMITS)
                weakref.finalize(self, self._client.close)
            return self._client

    async def _async_client(self) -> _AsyncClient:
        """The running loop's client: an httpx.AsyncClient cannot leave the loop that it was first used in."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is not None:
                return client
            for closed in [other for other in self._async_clients if other.is_closed()]:
                del self._async_clients[closed]
            http = httpx.AsyncClient(limits=_LIMITS)
            client = self._async_clients[loop] = _AsyncClient(http, _closing(http))
        await anext(client.closing)
        return client


@dataclass(frozen=True, slots=True)
class _AsyncClient:
    """What belongs to one event loop."""

    http: httpx.AsyncClient
    closing: AsyncGenerator[None, None]


async def _closing(http: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Once begun, closes the client when the loop shuts its generators down, as ``asyncio.run`` does at its end."""
    try:
        yield
    finally:
        await http.aclose()


def _question(query: str, documents: Iterable[str], options: ScoreOptions) -> wire.Question:
    """Refuse here what is not text, with the words that a model in this process has for it."""
    return wire.Question(query, [pair.document for pair in as_pairs(query, documents)], options)


def _answer(response: httpx.Response, content: bytes) -> Answer:
    return Answer(response.status_code, content, response.headers.get("Retry-After"))


def _no_answer(error: httpx.RequestError, ask: Ask) -> NoAnswer:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NoAnswer("unreachable", str(error) or f"no connection within {ask.connect:.3g} s", error)
    if isinstance(error, httpx.TimeoutException):
        return NoAnswer("late", str(error), error)
    return NoAnswer("cut off", f"{type(error).__name__}: {error}", error)


def _timeouts(ask: Ask) -> httpx.Timeout:
    return httpx.Timeout(ask.seconds, connect=ask.connect)


def _again(
    kind: type[HTTPScorer], endpoints: Sequence[Endpoint], api_key: ApiKey, options: dict[str, Any]
) -> HTTPScorer:
    """A copy. Its arguments have reprs that show neither key nor password."""
    return kind([endpoint.given for endpoint in endpoints], api_key=api_key.source, **options)


def _endpoint(base_url: str) -> Endpoint:
    """The address as it will be used. The password leaves it here: httpx writes addresses into its log."""
    try:
        url = httpx.URL(base_url.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        reason = "" if "@" in base_url else f": {error}"  # which may quote a part of a password
        raise InvalidRequest(f"base_url cannot be read as an address{reason}") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        start, at, rest = str(url).rpartition("@")
        raise InvalidRequest(
            f"base_url is {('...' if start else '') + at + rest!r}: use one like http://localhost:8000"
        )
    shown = str(url.copy_with(userinfo=b"") if url.userinfo else url).rstrip("/")
    if not url.userinfo:
        return Endpoint(shown, given=shown)
    user = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    return Endpoint(shown, given=str(url), authorization=f"Basic {user}")
