"""The connections of one scorer in one process."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.request import getproxies

import httpx
from rerank_core.forking import running

from rerank_integrations.http.balancer import Endpoint
from rerank_integrations.http.environment import Proxy, proxy_for, tls_context
from rerank_integrations.http.streams import AsyncBackend, WatchedBackend
from rerank_integrations.threads import run_in_thread

# httpcore imports these with the first connection, where they would hold an event loop for some ten milliseconds.
for _name in ("sniffio", "anyio._backends._asyncio"):
    with suppress(ModuleNotFoundError):
        import_module(_name)

# Servers and balancers close idle connections after 60 s or more. One that closes them sooner is no harm: a closed
# connection is noticed before it is used, or its request is made again on a new one.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=50.0)
_NOT_KEPT = httpx.Limits(max_connections=None, max_keepalive_connections=0)


@dataclass(frozen=True, slots=True)
class Clients:
    """Makes requests, by server: ``pooled`` on connections that stay open, ``fresh`` each on a new one."""

    pooled: dict[Endpoint, httpx.Client]
    fresh: dict[Endpoint, httpx.Client]

    def close(self) -> None:
        """Close all connections."""
        for client in (*self.pooled.values(), *self.fresh.values()):
            client.close()


@dataclass(frozen=True, slots=True)
class AsyncClients:
    """As ``Clients``, for one event loop: an ``httpx.AsyncClient`` cannot leave the loop that it was first used in."""

    pooled: dict[Endpoint, httpx.AsyncClient]
    fresh: dict[Endpoint, httpx.AsyncClient]
    closing: AsyncGenerator[None, None]


class Connections:
    """The connections to the servers, one set for all threads, and one for each event loop.

    The environment's proxies and certificates are read with the first request. ``.netrc`` is not read.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._lock = threading.Lock()  # never held while waiting: event loops take it too
        self._clients: Clients | None = None
        self._finalizer: Callable[[], Any] | None = None
        self.async_clients: dict[asyncio.AbstractEventLoop, AsyncClients] = {}
        self._opened = OpenedSockets()
        self._proxies: dict[Endpoint, Proxy | None] | None = None

    def trace(self) -> Trace:
        """Return what one request reports its new connections to."""
        return Trace(self._opened)

    def proxy(self, endpoint: Endpoint) -> Proxy | None:
        """Return the proxy that requests to the server go through. Raises ``UnusableEnvironment``."""
        if self._proxies is None:
            proxies = getproxies()
            self._proxies = {one: proxy_for(httpx.URL(one.url), proxies, os.environ) for one in self._endpoints}
        return self._proxies[endpoint]

    def clients(self) -> Clients:
        """Return the clients of all threads. Raises ``UnusableEnvironment``."""
        with self._lock:
            if self._clients is None:
                routes = self._routes()
                self._clients = Clients(
                    pooled={one: route.client(_LIMITS) for one, route in routes.items()},
                    fresh={one: route.client(_NOT_KEPT) for one, route in routes.items()},
                )
                self._finalizer = weakref.finalize(self, self._clients.close)
            return self._clients

    async def loop_clients(self) -> AsyncClients:
        """Return the running loop's clients. Raises ``UnusableEnvironment``."""
        loop = asyncio.get_running_loop()
        if (known := self.async_clients.get(loop)) is not None:
            return known
        # To read certificates takes tens of milliseconds, which the loop has other uses for.
        routes = await run_in_thread(self._routes) if self._needs_tls() else self._routes()
        with self._lock:
            clients = self.async_clients.get(loop)
            if clients is not None:  # another task was first
                return clients
            for closed in [other for other in self.async_clients if other.is_closed()]:
                del self.async_clients[closed]
            pooled = {one: route.async_client(_LIMITS) for one, route in routes.items()}
            fresh = {one: route.async_client(_NOT_KEPT) for one, route in routes.items()}
            clients = self.async_clients[loop] = AsyncClients(
                pooled, fresh, _closing(*pooled.values(), *fresh.values())
            )
        await anext(clients.closing)
        return clients

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            clients, self._clients = self._clients, None
            self._proxies = None
        if clients is not None:
            clients.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and those of all threads."""
        self.close()
        with self._lock:
            clients = self.async_clients.pop(asyncio.get_running_loop(), None)
        if clients is not None:
            await clients.closing.aclose()

    def abandon(self) -> None:
        """Let go of the connections that this process inherited: the process that opened them goes on using them."""
        if self._finalizer is not None:
            self._finalizer.detach()  # type: ignore[attr-defined]
            self._finalizer = None
        self._opened.abandon()

    def _needs_tls(self) -> bool:
        proxies = [self.proxy(one) for one in self._endpoints]
        urls = [one.url for one in self._endpoints] + [proxy.url for proxy in proxies if proxy]
        return any(url.startswith("https:") for url in urls)

    def _routes(self) -> dict[Endpoint, _Route]:
        proxies = {one: self.proxy(one) for one in self._endpoints}
        with running():  # a fork meanwhile would leave OpenSSL locked for ever in the child
            # Reading certificates takes a while, and may fail: nothing of it concerns plain http.
            tls = tls_context() if self._needs_tls() else None
            return {one: _Route(tls, _proxy(proxy, tls) if proxy else None) for one, proxy in proxies.items()}


class OpenedSockets:
    """The sockets that one process has opened, so that a process forked from it can let go of them."""

    def __init__(self) -> None:
        # By number, device and inode: the number alone may have become another file's.
        self._sockets: list[tuple[int, int, int, weakref.ref[socket.socket] | None]] = []

    def add(self, opened: Any) -> None:
        """Note a socket."""
        with suppress(OSError, ValueError):  # it may be closed already
            number = opened.fileno()
            status = os.fstat(number)
            reference = weakref.ref(opened) if isinstance(opened, socket.socket) else None
            self._sockets = [one for one in self._sockets if _is_open(*one[:3])]
            self._sockets.append((number, status.st_dev, status.st_ino, reference))

    def abandon(self) -> None:
        """Let go of each socket without a word to its other end.

        Another file takes its number, since whoever holds the socket may close that number later on.
        """
        sockets, self._sockets = self._sockets, []
        for number, device, inode, reference in sockets:
            if not _is_open(number, device, inode):
                continue
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nothing, number, inheritable=False)
            os.close(nothing)
            if reference is not None and (opened := reference()) is not None:
                opened.close()


class Trace:
    """Records the connections that one request opens: a trace extension of httpcore."""

    def __init__(self, opened: OpenedSockets) -> None:
        self._opened = opened
        self.has_connected = False

    def note(self, event: str, info: dict[str, Any]) -> None:
        """Take note of a connection that was opened."""
        if event.endswith("connect_tcp.complete"):
            self.has_connected = True
            self._opened.add(info["return_value"].get_extra_info("socket"))

    async def anote(self, event: str, info: dict[str, Any]) -> None:
        """As ``note``."""
        self.note(event, info)


@dataclass(frozen=True, slots=True)
class _Route:
    """The TLS settings and the proxy of a server; no TLS settings where nothing is asked by TLS."""

    tls: ssl.SSLContext | None
    proxy: httpx.Proxy | None

    @property
    def _verify(self) -> Any:
        # httpx passes on whatever is none of a bool and a string, and httpcore takes None for no context at all.
        return self.tls

    def client(self, limits: httpx.Limits) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self._verify, proxy=self.proxy, limits=limits, trust_env=False)
        transport._pool._network_backend = WatchedBackend()
        return httpx.Client(transport=transport, trust_env=False)

    def async_client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(verify=self._verify, proxy=self.proxy, limits=limits, trust_env=False)
        transport._pool._network_backend = AsyncBackend()
        return httpx.AsyncClient(transport=transport, trust_env=False)


def _proxy(proxy: Proxy, tls: ssl.SSLContext | None) -> httpx.Proxy:
    return httpx.Proxy(proxy.url, ssl_context=tls if proxy.url.startswith("https:") else None)


async def _closing(*clients: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close the clients when the loop shuts its generators down, as ``asyncio.run`` does at its end."""
    try:
        yield
    finally:
        for client in clients:
            await client.aclose()


def _is_open(number: int, device: int, inode: int) -> bool:
    try:
        status = os.fstat(number)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (device, inode)
