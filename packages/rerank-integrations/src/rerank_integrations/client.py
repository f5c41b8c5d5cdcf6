"""Scores by asking a rerank-server."""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from rerank_core.errors import DeadlineExceeded, InvalidRequest, RerankError, Unavailable
from rerank_core.scoring import as_pairs, score_options
from rerank_core.types import ScoreOptions, Scores

from rerank_integrations import wire

_RERANK = "/v1/rerank"
_INFO = "/info"
_CONNECT_SECONDS = 10.0
# Idle connections go before the server closes them (uvicorn: after 5 s), so that no request meets a closing door.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)


class HTTPScorer:
    """A ``Scorer`` and an ``AsyncScorer`` that asks a rerank-server. Threads and event loops may share one.

    - ``base_url``: where the server is, such as ``http://localhost:8000``.
    - ``api_key``: sent as a bearer token; never shown.
    - ``timeout``: seconds to wait for each request's answer; None waits without end.

    The server's limits are read with the first request and kept; a list beyond them is sent in parts, one by one.
    Connections stay open for the next call, until ``close`` or ``aclose``, or the end of a ``with``; a scorer that is
    used again afterwards opens new ones.

    Raises ``InvalidRequest`` for an address, a key or a timeout that cannot be.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout: float | None = 300.0) -> None:
        self._url = _checked_url(base_url)
        self._api_key = _checked_key(api_key)
        if timeout is not None and not timeout > 0:
            raise InvalidRequest(f"timeout is {timeout}: use seconds above 0, or None to wait without end")
        self._timeout = timeout
        self._lock = threading.Lock()  # never held while waiting: event loops take it too
        self._info: wire.ServerInfo | None = None
        self._client: httpx.Client | None = None
        self._async_clients: dict[asyncio.AbstractEventLoop, _AsyncClient] = {}

    def __repr__(self) -> str:
        return f"HTTPScorer({self.base_url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied without its connections."""
        again = functools.partial(type(self), self._url, api_key=self._api_key, timeout=self._timeout)
        return again, ()

    @property
    def base_url(self) -> str:
        """Where the server is, without the password that the address may hold."""
        return str(httpx.URL(self._url).copy_with(userinfo=b""))

    def score(
        self,
        query: str,
        documents: Sequence[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """See ``Scorer.score``.

        Also raises ``Unavailable`` where the server cannot be reached, ``DeadlineExceeded`` where it does not answer
        in time, and ``ModelError`` for an answer that is not complete.
        """
        question = _question(query, documents, score_options(options, raw=raw, truncate=truncate))
        info = self._server_info()
        answers = []
        for part in question.parts(info):
            response = self._send("POST", _RERANK, question.body(part))
            answers.append(self._scores(response, question, part))
        return wire.join(answers, info)

    async def ascore(
        self,
        query: str,
        documents: Sequence[str],
        *,
        raw: bool = False,
        truncate: bool = True,
        options: ScoreOptions | None = None,
    ) -> Scores:
        """As ``score``, without holding the thread."""
        question = _question(query, documents, score_options(options, raw=raw, truncate=truncate))
        info = await self._aserver_info()
        answers = []
        for part in question.parts(info):
            response = await self._asend("POST", _RERANK, question.body(part))
            answers.append(self._scores(response, question, part))
        return wire.join(answers, info)

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

    # Without a lock: the first calls may each ask, but none waits for another's time to run out.
    def _server_info(self) -> wire.ServerInfo:
        info = self._info or self._read_info(self._send("GET", _INFO))
        self._info = info
        return info

    async def _aserver_info(self) -> wire.ServerInfo:
        info = self._info or self._read_info(await self._asend("GET", _INFO))
        self._info = info
        return info

    def _send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        try:
            return self._sync_client().request(method, self._url + path, content=body)
        except httpx.RequestError as error:
            raise self._failure(error, method, path) from error

    async def _asend(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        client = await self._async_client()
        try:
            return await client.http.request(method, self._url + path, content=body)
        except httpx.RequestError as error:
            raise self._failure(error, method, path) from error

    def _sync_client(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(headers=self._headers(), timeout=self._timeouts(), limits=_LIMITS)
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
            http = httpx.AsyncClient(headers=self._headers(), timeout=self._timeouts(), limits=_LIMITS)
            client = self._async_clients[loop] = _AsyncClient(http, _closing(http))
        await anext(client.closing)
        return client

    def _headers(self) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        return {"Content-Type": "application/json", "Accept": "application/json", **authorization}

    def _timeouts(self) -> httpx.Timeout:
        connect = _CONNECT_SECONDS if self._timeout is None else min(_CONNECT_SECONDS, self._timeout)
        return httpx.Timeout(self._timeout, connect=connect)

    def _read_info(self, response: httpx.Response) -> wire.ServerInfo:
        url = self.base_url + _INFO
        if response.status_code != 200:
            raise self._refusal(response, url)
        return wire.read_info(response.content, url)

    def _scores(self, response: httpx.Response, question: wire.Question, part: range) -> Scores:
        url = self.base_url + _RERANK
        if response.status_code != 200:
            raise self._refusal(response, url, note=question.note(part))
        return wire.read_scores(response.content, url, part)

    def _refusal(self, response: httpx.Response, url: str, *, note: str = "") -> RerankError:
        return wire.read_error(
            response.status_code, response.content, url, retry_after=response.headers.get("Retry-After"), note=note
        )

    def _failure(self, error: httpx.RequestError, method: str, path: str) -> Unavailable:
        """What it means that no answer came."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            reason = str(error) or f"no connection within {self._timeouts().connect:g} s"
            return Unavailable(
                f"{self.base_url} cannot be reached ({reason}): is rerank-server running there, and is it ready?"
            )
        source = f"{method} {self.base_url}{path}"
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(
                f"{source} was not answered within {self._timeout:g} s: send fewer or shorter documents at once, "
                "or wait longer with timeout="
            )
        reason = f"{type(error).__name__}: {error}"
        return Unavailable(f"{source} was cut off ({reason}): the server may be restarting, ask again")


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


def _question(query: str, documents: Sequence[str], options: ScoreOptions) -> wire.Question:
    """Refuse here what is not text, with the words that a model in this process has for it."""
    return wire.Question(query, [pair.document for pair in as_pairs(query, documents)], options)


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"base_url cannot be read as an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise InvalidRequest(f"base_url is {str(url)!r}: use an address like http://localhost:8000")
    return str(url).rstrip("/")


def _checked_key(api_key: str | None) -> str | None:
    """An empty key is none. A line break, as files end with, would be an error that shows the key."""
    key = (api_key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise InvalidRequest("api_key holds white space or a character outside ASCII, which no header can carry")
    return key or None
