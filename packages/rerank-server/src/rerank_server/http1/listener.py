"""Sockets to listen on, and accepting connections on them."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import logging
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from rerank_server.http1.polling import is_readable
from rerank_server.http1.pool import Pool

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_BATCH = 16  # connections that are accepted before the event loop does something else
_PAUSE = 0.1  # seconds in which nothing is accepted where there is no room
_LOG_EVERY = 60.0  # seconds
_LOCK_SECONDS = 5.0
_HANDSHAKE_SECONDS = 0.25  # for connections that are being opened: a round trip, and the 0.2 s an ACK may be delayed
_SO_ATTACH_FILTER = 26  # Linux: a program of the kernel's packet filter, which says how many bytes of a packet to keep
_DROP_SYN = (  # code, jump if true, jump if false, operand (linux/filter.h); a packet begins with its TCP header
    (0x30, 0, 0, 13),  # load its flags
    (0x54, 0, 0, 0x12),  # of them, SYN and ACK
    (0x15, 0, 1, 0x02),  # where only SYN is set:
    (0x06, 0, 0, 0),  # keep nothing
    (0x06, 0, 0, 0xFFFFFFFF),  # else everything
)
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ListenError(Exception):
    """There is no listening here: the reason, and the setting to change."""


def listen_on_port(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of ``host``. Raises ``ListenError``."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ListenError(f"cannot listen on {where}: HOST is no address of this machine ({reason})") from None
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_listening(family, kind, protocol, address))
        except OSError as error:
            failure = error
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # another address may be there
                break
    if sockets and (failure is None or failure.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}):
        return sockets
    for opened in sockets:
        opened.close()
    reason = os.strerror(failure.errno).lower() if failure and failure.errno else "it has no address"
    setting = "HOST" if failure is None or failure.errno == errno.EADDRNOTAVAIL else "HOST or PORT"
    raise ListenError(f"cannot listen on {where}: {reason}: set {setting}") from None


def _listening(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


class UnixSocket:
    """A socket file that nobody else listens on, open to whom ``mode`` names. Raises ``ListenError``."""

    def __init__(self, path: str, mode: int) -> None:
        self.path = path
        try:
            with _locked(Path(path).parent):
                _remove_stale(path)
                self.socket = socket.socket(socket.AF_UNIX)
                try:
                    self.socket.bind(path)
                    Path(path).chmod(mode)  # before listen: nobody can have connected yet
                    self.socket.listen(_BACKLOG)
                except BaseException:
                    self.socket.close()
                    raise
        except OSError as error:
            raise ListenError(f"cannot listen on {path}: {_reason(error)}: set RERANK_UDS") from None
        self.socket.setblocking(False)
        self._identity = _identity(path)
        self._removed = False

    def remove(self) -> None:
        """Delete the file, unless another has taken its place. To be called while the socket is still open.

        Nobody can connect any more, and until the socket is closed no other file can have the number of this one.
        """
        if self._removed:
            return
        self._removed = True
        with suppress(OSError), _locked(Path(self.path).parent):
            if _identity(self.path) == self._identity:
                Path(self.path).unlink()


def _begin_no_more(listening: socket.socket) -> bool:
    """Let the kernel begin no more connections to a port; those that have begun can still be opened and accepted.

    Whoever connected between the last accept and the close would lose its request; now it is refused by the close.
    False where the system has no such filter: there, that moment stays.
    """
    if sys.platform != "linux" or listening.family == socket.AF_UNIX:  # of which the file is deleted before
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in _DROP_SYN))
    described = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError:
        return False
    return True


def _remove_stale(path: str) -> None:
    """Delete the socket file of a server that has ended. Raises ``ListenError`` where the path is in use."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"cannot listen on {path}: there is something that is no socket: set RERANK_UDS")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except OSError:  # such as a queue that is full, or a socket of another user
            pass
    raise ListenError(f"cannot listen on {path}: another server listens there: stop it, or set RERANK_UDS")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One server at a time looks at a socket file and replaces it; two might delete each other's otherwise."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:  # who locks a directory for so long has another reason
                    break
                time.sleep(0.01)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


class Listener:
    """Accepts the connections of some sockets, as many as their pool has room for."""

    def __init__(
        self, sockets: list[socket.socket], pool: Pool, make_connection: Callable[[], asyncio.Protocol]
    ) -> None:
        self._sockets = sockets
        self._pool = pool
        self._make_connection = make_connection
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._logged_at = -_LOG_EVERY

    def start(self) -> None:
        """Begin to accept."""
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    async def close(self, handshake_seconds: float = _HANDSHAKE_SECONDS) -> None:
        """Accept whoever has begun to connect, and is connected within so many seconds; nobody else.

        A client counts itself connected, and sends its request, while its last packet of the handshake is on its way.
        """
        filtered = [_begin_no_more(listening) for listening in self._sockets]
        if any(filtered):
            await asyncio.sleep(handshake_seconds)
        for resting in self._resting.values():
            resting.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            with suppress(OSError):
                while self._accept_one(listening):
                    pass
            listening.close()
        self._sockets = []
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_BATCH):
            if not is_readable(listening):
                return
            if not self._pool.make_room(len(self._opening)):
                self._warn(f"all {self._pool.limit} connections (RERANK_MAX_CONNECTIONS) are busy: others wait")
                self._rest(listening)
                return
            try:
                self._accept_one(listening)
            except OSError as error:
                advice = ""
                if error.errno in _OUT_OF_RESOURCES:
                    self._pool.evict_one()
                    advice = (
                        ": allow more open files (ulimit -n), or set a lower RERANK_MAX_CONNECTIONS than "
                        f"{self._pool.limit}"
                    )
                self._warn(f"a connection cannot be accepted: {_reason(error)}{advice}")
                self._rest(listening)
                return

    def _accept_one(self, listening: socket.socket) -> bool:
        """Whether there was a connection. Raises ``OSError`` where there are no resources for it."""
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:  # it left while it waited
            return True
        accepted.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._make_connection, accepted))
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, accepted))
        return True

    def _opened(self, accepted: socket.socket, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()):
            accepted.close()
            self._warn(f"a connection cannot be opened: {error}")

    def _rest(self, listening: socket.socket) -> None:
        """A socket that cannot be accepted from stays readable: without a pause it would be tried all the time."""
        self._loop.remove_reader(listening)
        self._resting[listening] = self._loop.call_later(
            _PAUSE, self._loop.add_reader, listening, self._accept, listening
        )

    def _warn(self, message: str) -> None:
        """One line a minute: a log has better things to hold."""
        if self._loop.time() - self._logged_at >= _LOG_EVERY:
            self._logged_at = self._loop.time()
            logger.warning(message)
