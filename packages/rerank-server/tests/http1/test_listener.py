"""Where a server listens, and how it accepts."""

import asyncio
import errno
import fcntl
import logging
import math
import os
import resource
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rerank_server.http1 import listener as listener_module
from rerank_server.http1.descriptors import TooManyConnections, connection_limit, limit_for, raised_limit
from rerank_server.http1.listener import Listener, ListenError, UnixSocket, listen_on_port
from rerank_server.http1.pool import Pool


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture
def bind() -> Iterator[Callable[..., UnixSocket]]:
    bound = []

    def bind(path: str, mode: int = 0o660) -> UnixSocket:
        bound.append(UnixSocket(path, mode))
        return bound[-1]

    yield bind
    for one in bound:
        one.remove()
        one.socket.close()


def listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def test_a_second_server_on_one_socket_is_refused_and_the_first_goes_on(path: str, bind: Any) -> None:
    bind(path)

    with pytest.raises(ListenError, match=f"{path}: another server listens there: stop it, or set RERANK_UDS"):
        bind(path)

    assert listens(path)


def test_a_server_that_is_too_busy_to_accept_still_has_its_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(path)

        with pytest.raises(ListenError, match="another server"):
            UnixSocket(path, 0o660)

        for client in waiting:
            client.close()


def test_the_file_of_a_server_that_died_is_taken_over(path: str, bind: Any) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    assert not listens(path)

    bind(path)

    assert listens(path)


def test_a_server_waits_while_another_looks_at_the_socket_file(
    path: str, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.open(Path(path).parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    slept = []

    def finishes(seconds: float) -> None:
        slept.append(seconds)
        os.close(other)  # and gives up its lock

    monkeypatch.setattr("rerank_server.http1.listener.time.sleep", finishes)
    bind(path)

    assert len(slept) == 1
    assert listens(path)


def test_a_directory_that_stays_locked_keeps_no_server_from_starting(
    path: str, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank_server.http1.listener._LOCK_SECONDS", -1.0)
    other = os.open(Path(path).parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    bind(path)
    os.close(other)

    assert listens(path)


def test_a_file_system_without_locks_keeps_no_server_from_starting(
    path: str, bind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("rerank_server.http1.listener.fcntl.flock", flock)
    bind(path)

    assert listens(path)


def test_the_file_is_deleted_at_the_end(path: str, bind: Any) -> None:
    bind(path).remove()

    assert not Path(path).exists()


def test_the_file_of_another_server_is_left(path: str, bind: Any) -> None:
    first = bind(path)
    Path(path).unlink()
    bind(path)

    first.remove()

    assert listens(path)


class Meeting(socket.socket):
    """A listening socket to which somebody connects in the moment before it is closed."""

    connected: bool | None = None

    def close(self) -> None:
        if self.connected is None and self.fileno() >= 0:
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(self.getsockname())
                poll = select.poll()
                poll.register(client, select.POLLOUT)
                self.connected = bool(poll.poll(0))
        super().close()


@pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")
async def test_nobody_connects_between_the_last_accept_and_the_close() -> None:
    """Such a connection would be reset, and the request on it lost."""
    listening = Meeting()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    listening.setblocking(False)
    listener = Listener([listening], Pool(10), asyncio.Protocol)

    await listener.close()

    assert listening.connected is False


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_never_deleted(path: str, kind: str, tmp_path: Path, bind: Any) -> None:
    if kind == "file":
        Path(path).write_text("precious")
    elif kind == "directory":
        Path(path).mkdir()
    else:
        Path(path).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ListenError, match="no socket: set RERANK_UDS"):
        bind(path)

    assert os.path.lexists(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/socket", "no such file or directory"),
        ("x" * 200, "path too long"),
        ("file/socket", "not a directory"),
    ],
)
def test_a_path_that_cannot_be_is_named_with_its_setting(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ListenError, match=f"{reason}: set RERANK_UDS"):
        UnixSocket(str(tmp_path / name), 0o660)


@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666])
def test_the_socket_has_the_mode_that_is_set_whatever_the_umask(path: str, mode: int, bind: Any) -> None:
    before = os.umask(0o077)
    try:
        bind(path, mode)
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.stat(path).st_mode) == mode  # noqa: PTH116


def test_of_servers_that_start_at_once_one_has_the_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    bound: list[UnixSocket] = []
    refused: list[ListenError] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        try:
            bound.append(UnixSocket(path, 0o660))
        except ListenError as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(bound), len(refused)) == (1, 7)
    assert listens(path)
    bound[0].remove()
    bound[0].socket.close()


def test_a_port_in_use_is_named_with_its_settings() -> None:
    (taken,) = listen_on_port("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with taken, pytest.raises(ListenError) as refused:
        listen_on_port("127.0.0.1", port)

    assert str(refused.value) == f"cannot listen on 127.0.0.1:{port}: address already in use: set HOST or PORT"


@pytest.mark.parametrize("host", ["no such host", "256.1.1.1", "192.0.2.1", "x" * 300, "-"])
def test_a_host_that_is_no_address_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(ListenError, match="HOST"):
        listen_on_port(host, 0)


def test_where_one_address_of_a_name_is_taken_none_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = listen_on_port("127.0.0.2", 0)
    port = taken.getsockname()[1]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2)]
    with taken, monkeypatch.context() as names:
        names.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(ListenError, match="address already in use"):
            listen_on_port("name", port)

    (free,) = listen_on_port("127.0.0.1", port)
    free.close()


def test_every_address_of_a_name_is_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)]
    absent = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, absent])

    opened = listen_on_port("name", 0)

    assert [one.getsockname()[0] for one in opened] == ["127.0.0.1", "127.0.0.2"]
    for one in opened:
        one.close()


class Failing(socket.socket):
    """A listening socket that cannot be accepted from: all the time, or for some ``times``."""

    def __init__(self, number: int, times: float = math.inf) -> None:
        super().__init__()
        self.number = number
        self.times = times
        self.tried = 0

    def accept(self) -> Any:
        self.tried += 1
        if self.tried > self.times:
            return super().accept()
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "too many open files: allow more open files (ulimit -n), or set a lower RERANK_MAX_CONNECTIONS"),
        (errno.EPERM, "operation not permitted"),
    ],
)
async def test_where_nothing_can_be_accepted_nothing_spins_and_one_line_says_so(
    caplog: pytest.LogCaptureFixture, number: int, said: str
) -> None:
    with Failing(number) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        listener = Listener([listening], Pool(10), asyncio.Protocol)
        with socket.create_connection(listening.getsockname()):
            listener.start()
            turns = 0
            while listening.tried < 3:
                await asyncio.sleep(0)
                turns += 1
        await listener.close()

    assert turns > 10 * 3  # between the attempts the loop did other things
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert line.getMessage().startswith(f"a connection cannot be accepted: {said}")


async def test_a_listener_that_is_closed_while_it_pauses_tries_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_PAUSE", 0.01)
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    with Failing(errno.EPERM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        listener = Listener([listening], Pool(10), asyncio.Protocol)
        with socket.create_connection(listening.getsockname()):
            listener.start()
            while not listening.tried:  # noqa: ASYNC110 (a socket has no event)
                await asyncio.sleep(0)
            await listener.close()
        later = asyncio.Event()
        loop.call_later(0.01, later.set)  # behind the next attempt
        await later.wait()

    assert failures == []


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        yield listening


async def accepted(listening: socket.socket, make_connection: Callable[[], asyncio.Protocol]) -> None:
    """Lets a client connect and a listener accept it, until both are closed again."""
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    listening.setblocking(False)
    listener = Listener([listening], Pool(10), make_connection)
    listener.start()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    await reader.read()
    writer.close()
    await listener.close()


class Closing(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def test_a_client_that_left_while_it_waited_keeps_nobody_from_being_accepted() -> None:
    with Failing(errno.ECONNABORTED, times=1) as listening:
        await accepted(listening, Closing)

        assert listening.tried > 1


async def test_a_connection_that_cannot_be_opened_is_closed_and_said(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> asyncio.Protocol:
        raise MemoryError("no room")

    await accepted(listening, fail)

    assert caplog.messages == ["a connection cannot be opened: no room"]


def test_a_soft_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    assert raised_limit(256, 1024) == 1024
    assert raised_limit(256, 1_000_000) == raised_limit(256, resource.RLIM_INFINITY) == 65_536
    assert raised_limit(100_000, 1_000_000) == raised_limit(100_000, resource.RLIM_INFINITY) == 100_000
    assert raised_limit(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == resource.RLIM_INFINITY


def test_a_process_with_few_open_files_allows_itself_more() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        allowed = [connection_limit(None), connection_limit(None)]
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert raised > 200
    assert allowed == [limit_for(raised, None)] * 2


def test_the_limit_of_connections_leaves_descriptors_for_other_things() -> None:
    assert limit_for(1024, None) == 960
    assert limit_for(64, None) == 32
    assert limit_for(None, None) == limit_for(1_000_000, None) == 4096
    assert limit_for(1024, 960) == 960
    with pytest.raises(TooManyConnections, match="RERANK_MAX_CONNECTIONS is 961, and of the 1024 files"):
        limit_for(1024, 961)
