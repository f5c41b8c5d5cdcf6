"""The HTTP client: scores by asking a rerank-server, or one of several."""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

from rerank_core.errors import InvalidRequest
from rerank_core.forking import PerProcess
from rerank_core.inputs import DeprecatedOptions, as_pairs, score_options
from rerank_core.progress import Advance, progress_bar
from rerank_core.types import ScoreOptions, Scores

from rerank_integrations.http import protocol
from rerank_integrations.http.address import read_address, without_password
from rerank_integrations.http.api_key import ApiKey
from rerank_integrations.http.balancer import Balancer, Endpoint
from rerank_integrations.http.connections import Connections
from rerank_integrations.http.driver import Driver
from rerank_integrations.http.flow import RequestFlows, SendRequest

_SHORTEST = 0.001  # seconds; the server refuses a request that may take none


class HTTPScorer:
    """A ``Scorer`` and an ``AsyncScorer`` that asks a rerank-server. Threads and event loops may share one.

    - ``base_url``: where the server is, such as ``http://localhost:8000``; or several servers of the same model and
      the same settings. Each request goes to the one that has the fewest of ours in hand. One that cannot be reached,
      has no room, or gives an answer that is no rerank-server's is left out for some seconds, and the others are asked
      at once.
    - ``api_key``: sent as a bearer token; never shown. A callable is asked before each request, in the caller's
      thread or event loop, so that a key may change. None: what ``RERANK_API_KEY`` is when the scorer is made; an
      empty string: no key.
    - ``timeout``: seconds for a whole call, all its requests and waits included; the server is told what is left of
      them. None waits without end.
    - ``max_retries``: how often each server is asked again where the same request may succeed later: it cannot be
      reached, breaks off, is overloaded (429) or unavailable (502, 503). It waits as long as the server says in
      ``Retry-After``, else a random time of up to 0.5, 1, 2 ... 8 seconds, and never past ``timeout``.
    - ``hedge_after``: seconds after which a second server is asked too; the first answer is taken, and the other
      request broken off. None: never. It needs several servers, and costs what is computed twice.

    A request that has waited for 0.75 seconds is followed by ``GET /livez``, and every two seconds. A server that
    answers is only slow and is waited for. One that says nothing to that either for 1.25 seconds (10 where it is the
    only one) is stopped or stuck: it counts as one that cannot be reached.

    The server's limits are read with the first request and kept; a list beyond them is sent in parts, one by one. A
    text that is too large for the server is cut to what it takes and counts as truncated, unless ``truncate`` is False.
    Connections stay open for the next call, until ``close`` or ``aclose``, or the end of a ``with``; a scorer that is
    used again afterwards opens new ones. A process that was forked has connections of its own.

    The environment says, with the first request, which proxy to use (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``,
    ``NO_PROXY``, also in lower case), and for ``https`` which certificates to trust (``SSL_CERT_FILE``,
    ``SSL_CERT_DIR``). A loopback address is always asked directly. ``.netrc`` is not read, and redirects are not
    followed.

    Raises ``InvalidRequest`` for an argument that cannot be.
    """

    # The world outside, where a test may put its own.
    _now = staticmethod(time.monotonic)
    _random = staticmethod(random.random)
    _sleep = staticmethod(time.sleep)
    _async_sleep = staticmethod(asyncio.sleep)

    def __init__(
        self,
        base_url: str | Sequence[str],
        *,
        api_key: str | Callable[[], str] | None = None,
        timeout: float | None = 300.0,
        max_retries: int = 3,
        hedge_after: float | None = None,
    ) -> None:
        urls = [base_url] if isinstance(base_url, str) else base_url
        endpoints = list(dict.fromkeys(read_address(url) for url in urls))
        if not endpoints:
            raise InvalidRequest("base_url is an empty list: use an address like http://localhost:8000")
        self._servers = endpoints
        self._api_key = ApiKey.of(api_key)
        if timeout is not None and not _is_above(timeout, 0):
            raise InvalidRequest(f"timeout is {timeout!r}: use seconds above 0, or None to wait without end")
        if not isinstance(max_retries, int) or max_retries < 0:
            raise InvalidRequest(f"max_retries is {max_retries!r}: use 0 to ask once, or another whole number above it")
        if hedge_after is not None and not _is_above(hedge_after, 0):
            raise InvalidRequest(f"hedge_after is {hedge_after!r}: use seconds above 0, or None to ask one server only")
        self._options = {"timeout": timeout, "max_retries": max_retries, "hedge_after": hedge_after}
        self._processes = PerProcess(
            partial(
                _State.make,
                endpoints,
                self._options,
                headers=partial(_headers, self._api_key),
                now=self._now,
                chance=self._random,
                sleep=self._sleep,
                async_sleep=self._async_sleep,
            )
        )
        self._processes.get()  # before threads can ask for it
        _scorers.add(self)

    def __repr__(self) -> str:
        urls = self.base_urls
        return f"HTTPScorer({urls[0] if len(urls) == 1 else list(urls)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied without its connections; with its key."""
        return _again, (type(self), tuple(self._servers), self._api_key, self._options)

    def configuration(self) -> dict[str, Any]:
        """Return the settings that make it again, without its key and without passwords of its addresses."""
        urls = [without_password(endpoint) for endpoint in self._servers]
        return {"url": urls[0] if len(urls) == 1 else urls, **self._options}

    @property
    def has_key(self) -> bool:
        """Whether requests carry an API key."""
        return bool(self._api_key.source)

    @property
    def base_url(self) -> str:
        """The address of the server, or of the first of several, without the password that it may hold."""
        return self.base_urls[0]

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of the servers, without passwords."""
        return tuple(endpoint.url for endpoint in self._servers)

    def score(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        *,
        progress: bool = False,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """See ``Scorer.score``. ``progress`` shows a bar on a terminal or in a notebook, and nothing elsewhere.

        Also raises ``Unavailable`` where no server can be reached, ``Overloaded`` where none has room,
        ``DeadlineExceeded`` where none answers in time, ``Unauthorized`` where the key is not taken or ``api_key()``
        has none, and ``ModelError`` where no server gives an answer that can be read and is complete.
        """
        question = _question(query, documents, score_options(options, deprecated))
        with progress_bar(len(question.documents), shown=progress) as advance:
            return self._state.score(question, advance)

    async def ascore(
        self,
        query: str,
        documents: Iterable[str],
        options: ScoreOptions | None = None,
        *,
        progress: bool = False,
        **deprecated: Unpack[DeprecatedOptions],
    ) -> Scores:
        """Score as ``score`` does, without holding the thread."""
        question = _question(query, documents, score_options(options, deprecated))
        with progress_bar(len(question.documents), shown=progress) as advance:
            return await self._state.ascore(question, advance)

    @property
    def independent(self) -> bool:
        """See ``StepwiseModel.independent``: the server says it, and is asked once. Raises as ``score``."""
        return self._state.info().independent

    def close(self) -> None:
        """Close the connections that ``score`` opened."""
        self._state.connections.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those that ``score`` opened."""
        await self._state.connections.aclose()

    @property
    def _state(self) -> _State:
        """The state of this process."""
        state = self._processes.get()
        if state.is_new:
            self._abandon_inherited()
            state.is_new = False
        return state

    def _abandon_inherited(self) -> None:
        for inherited in self._processes.inherited():
            inherited.connections.abandon()

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


# A process lets go of its parent's connections at once; where nothing tells Python of the fork, when it scores.
_scorers: weakref.WeakSet[HTTPScorer] = weakref.WeakSet()


def _abandon_inherited() -> None:
    for scorer in list(_scorers):
        scorer._abandon_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_inherited)


@dataclass(slots=True)
class _State:
    """A scorer's state in one process: connections, locks, and the balancer."""

    connections: Connections
    flows: RequestFlows
    balancer: Balancer
    driver: Driver
    is_new: bool = True

    @classmethod
    def make(
        cls,
        servers: Sequence[Endpoint],
        options: Mapping[str, Any],
        *,
        headers: Callable[[SendRequest], dict[str, str]],
        now: Callable[[], float],
        chance: Callable[[], float],
        sleep: Callable[[float], None],
        async_sleep: Callable[[float], Any],
    ) -> Self:
        balancer, connections = Balancer(servers), Connections(servers)
        return cls(
            connections,
            RequestFlows(balancer, now=now, chance=chance, **options),
            balancer,
            Driver(connections, balancer, headers=headers, now=now, sleep=sleep, async_sleep=async_sleep),
        )

    def info(self) -> protocol.ServerInfo:
        return self.driver.drive(self.flows.info())

    def score(self, question: protocol.Question, advance: Advance | None) -> Scores:
        return self.driver.drive(self.flows.score(question, advance))

    async def ascore(self, question: protocol.Question, advance: Advance | None) -> Scores:
        return await self.driver.adrive(self.flows.score(question, advance))


def _is_above(number: object, bound: float) -> bool:
    """Return whether it is a number above the bound; text is none."""
    return isinstance(number, int | float) and number > bound


def _headers(api_key: ApiKey, request: SendRequest) -> dict[str, str]:
    headers = {}
    if key := api_key.now():
        headers["Authorization"] = f"Bearer {key}"
    if request.endpoint.authorization:
        headers["Authorization"] = request.endpoint.authorization
    if request.seconds is not None:
        headers["X-Request-Timeout"] = f"{max(_SHORTEST, request.seconds):.3f}"
    return headers


def _question(query: str, documents: Iterable[str], options: ScoreOptions) -> protocol.Question:
    """Make the request; refuse what is not text, with the words that a model in this process has for it."""
    return protocol.Question(query, [pair.document for pair in as_pairs(query, documents)], options)


def _again(
    kind: type[HTTPScorer], endpoints: Sequence[Endpoint], api_key: ApiKey, options: dict[str, Any]
) -> HTTPScorer:
    """Make a copy. Its arguments have reprs that show neither key nor password."""
    return kind([endpoint.given for endpoint in endpoints], api_key=api_key.source, **options)
