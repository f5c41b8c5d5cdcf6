"""Sockets that may be left while a thread waits for them.

A thread that waits for a server looks, in between, at whatever was asked for with ``watched``: whether its time is
over, whether the server still lives, whether another server has answered. No thread is needed for that.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import httpcore

from rerank_integrations.threads import run_in_thread

_LAST_LOOK = 0.001  # seconds
_LONGEST_WAIT = 60.0  # without a look at the time

_Result = TypeVar("_Result")
_thread = threading.local()


class Watcher(Protocol):
    """A condition to look at while a request waits, next at ``due``, in seconds of ``time.monotonic``."""

    @property
    def due(self) -> float:
        """The time of the next look."""
        ...

    def look(self) -> Exception | None:
        """Return the error that ends the request, unless its answer comes at this very moment; move ``due``."""
        ...


@contextmanager
def watched(*watchers: Watcher) -> Iterator[None]:
    """Let the requests that this thread makes in the block be ended by ``watchers``."""
    outer = getattr(_thread, "watchers", ())
    _thread.watchers = watchers
    try:
        yield
    finally:
        _thread.watchers = outer


class WatchedBackend(httpcore.SyncBackend):
    """Opens connections that ``watched`` has an effect on."""

    def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        """See ``httpcore.NetworkBackend``."""
        return _WatchedStream(super().connect_tcp(*arguments, **options))


class AsyncBackend(httpcore.AnyIOBackend):
    """Opens connections also where the event loop's own threads take no work any more, not even to resolve a name."""

    async def connect_tcp(self, host: str, port: int, **options: Any) -> httpcore.AsyncNetworkStream:  # type: ignore[override]
        """See ``httpcore.AsyncNetworkBackend``."""
        try:
            stream = await super().connect_tcp(host, port, **options)
        except RuntimeError:
            try:
                found = await run_in_thread(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                raise httpcore.ConnectError(str(error)) from error
            stream = await super().connect_tcp(str(found[0][4][0]), port, **options)
        return _AsyncStream(stream)


class _AsyncStream(httpcore.AsyncNetworkStream):
    """Closes its connection also where a handshake is cancelled, which httpcore's own stream leaves open."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 (httpcore's)
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _AsyncStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _WatchedStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._socket = inner.get_extra_info("socket")
        # Within TLS through a proxy that is itself asked by TLS, the socket holds what only the inner stream can read.
        is_plain = inner.get_extra_info("ssl_object") is None
        self._can_watch = is_plain or isinstance(self._socket, ssl.SSLSocket)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._can_watch:
            return self._inner.read(max_bytes, timeout)
        receive: Callable[[], bytes] = partial(self._socket.recv, max_bytes)
        return self._wait(receive, timeout, httpcore.ReadTimeout, httpcore.ReadError)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not self._can_watch:
            self._inner.write(buffer, timeout)
            return
        left = memoryview(buffer)
        while left:
            send: Callable[[], int] = partial(self._socket.send, left)
            left = left[self._wait(send, timeout, httpcore.WriteTimeout, httpcore.WriteError) :]

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _WatchedStream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _wait(
        self, operation: Callable[[], _Result], timeout: float | None, late: type[Exception], broken: type[Exception]
    ) -> _Result:
        """Do what may have to wait. An operation whose time is over has done nothing, and is done again."""
        until = None if timeout is None else time.monotonic() + timeout
        watchers: tuple[Watcher, ...] = getattr(_thread, "watchers", ())
        last: Exception | None = None
        while True:
            now = time.monotonic()
            due = min([now + _LONGEST_WAIT, *([] if until is None else [until]), *(one.due for one in watchers)])
            try:
                self._socket.settimeout(_LAST_LOOK if last else max(_LAST_LOOK, due - now))
                return operation()
            except TimeoutError:
                if last:
                    raise last from None
            except OSError as error:
                raise broken(str(error)) from error
            now = time.monotonic()
            if until is not None and now >= until:
                raise late("timed out")
            for watcher in watchers:
                if watcher.due <= now:
                    last = last or watcher.look()
