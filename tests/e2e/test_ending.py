"""How the process ends, what signals do to it, and where it cannot begin: nothing that was sent is lost."""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

BODY = json.dumps({"query": "q", "documents": ["d"]}).encode()
HELD = {"query": "q", "documents": ["hold"]}
HEADERS = {"Content-Type": "application/json"}


def port_of(server: Any) -> int:
    return int(server.url.rpartition(":")[2])


def until(condition: Callable[[], bool]) -> None:
    """Asks another process until it is so; the test's own limit ends it."""
    while not condition():
        time.sleep(0.01)


def draining(server: Any) -> Callable[[], bool]:
    """Whether it says that it is about to end, or has ended already."""

    def asked() -> bool:
        try:
            return httpx.get(f"{server.url}/readyz").status_code == 503
        except httpx.TransportError:
            return True

    return asked


def logged(server: Any, text: str) -> Callable[[], bool]:
    return lambda: text in server.log.read_text()


def answer(connection: socket.socket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response


class Asking:
    """A client that keeps its connection, never asks twice for the same, and counts what became of its requests."""

    def __init__(self, port: int) -> None:
        self.statuses: list[int] = []
        self.kept_open_while_draining = 0
        self.lost: list[str] = []
        self.told = threading.Event()
        self._port = port

    def run(self) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        while True:
            try:
                connection.connect() if connection.sock is None else None
            except OSError:
                return  # nobody listens any more: nothing was sent
            told = self.told.is_set()
            try:
                connection.request("POST", "/v1/rerank", BODY, HEADERS)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            self.statuses.append(response.status)
            if told and response.getheader("connection") != "close":
                self.kept_open_while_draining += 1


@pytest.mark.parametrize("prestop", ["0", "0.5"])
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGQUIT])
def test_of_requests_on_kept_connections_none_is_lost_at_the_end(
    faulty: Any, prestop: str, told: signal.Signals
) -> None:
    with faulty(RERANK_PRESTOP_SECONDS=prestop, RERANK_LOG_LEVEL="warning") as server:
        clients = [Asking(port_of(server)) for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            runs = [threads.submit(client.run) for client in clients]
            until(lambda: all(len(client.statuses) > 10 for client in clients))
            server.process.send_signal(told)
            until(draining(server))
            for client in clients:
                client.told.set()
            code = server.process.wait(timeout=60)
            for run in runs:
                run.result()

    assert code == 0
    assert [client.lost for client in clients] == [[]] * 8
    # A fast server may be gone before anybody asks it in vain.
    assert {status for client in clients for status in client.statuses} <= {200, 503}
    assert sum(client.kept_open_while_draining for client in clients) == 0


def test_a_request_on_an_idle_connection_is_answered_until_the_end(faulty: Any, tmp_path: Path) -> None:
    with (
        faulty() as server,
        ThreadPoolExecutor(1) as threads,
        closing(http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=30)) as idle,
    ):
        idle.request("GET", "/livez")
        idle.getresponse().read()
        held = threads.submit(httpx.post, f"{server.url}/v1/rerank", json=HELD, timeout=60)
        until(lambda: "rerank_in_flight_pairs 1.0" in httpx.get(f"{server.url}/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        until(draining(server))
        idle.request("POST", "/v1/rerank", BODY, HEADERS)
        refused = idle.getresponse()
        (tmp_path / "fifo").write_bytes(b"")

        assert refused.status == 503
        assert refused.getheader("retry-after")
        assert refused.getheader("connection") == "close"
        assert held.result().status_code == 200
        assert held.result().headers["connection"] == "close"


PARTS = {
    "a body": (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n{",
        b'"query',
    ),
    "chunks": (b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\nx\r\n"),
    "a head": (b"POST %s HTTP/1.1\r\nHost: x\r\n", b"Content-Length: 31\r\n"),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_half_sent_when_the_drain_ends_is_answered_503_in_its_dialect(faulty: Any, part: str) -> None:
    begin, more = PARTS[part]
    with faulty(RERANK_DRAIN_SECONDS="1") as server:
        paths = ["/v1/rerank", "/rerank/batch"]
        connections = [socket.create_connection(("127.0.0.1", port_of(server)), timeout=30) for _ in paths]
        for connection, path in zip(connections, paths, strict=True):
            connection.sendall(begin % path.encode())
        httpx.get(f"{server.url}/livez")
        server.process.send_signal(signal.SIGTERM)
        until(logged(server, "shutting down"))
        for connection in connections:
            connection.sendall(more)  # they have not noticed
        answers = [answer(connection) for connection in connections]
        bodies = [json.loads(response.read()) for response in answers]
        for response in answers:
            response.close()
        for connection in connections:
            connection.close()
        code = server.process.wait(timeout=30)

    assert {response.status for response in answers} == {503}
    assert {response.getheader("connection") for response in answers} == {"close"}
    assert all(response.getheader("retry-after") for response in answers)
    if part != "a head":  # of which the path is not known
        assert bodies[0]["error"]["code"] == "unavailable"
        assert set(bodies[1]) == {"detail"}
    assert code == 0
    assert "Traceback" not in server.log.read_text()


def test_keys_are_read_again_at_sighup_and_no_other_signal_ends_the_process(faulty: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old-key\n")
    harmless = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE]

    def status(server: Any, key: str) -> int:
        headers = HEADERS | {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{server.url}/v1/rerank", content=BODY, headers=headers).status_code

    with faulty(RERANK_API_KEYS_FILE=str(keys), RERANK_API_KEYS="fixed-key") as server:
        assert [status(server, key) for key in ("old-key", "new-key", "fixed-key")] == [200, 401, 200]

        keys.write_text("new-key\nnewer-key\n")
        server.process.send_signal(signal.SIGHUP)
        until(logged(server, "the keys were read again: there are 3"))
        assert [status(server, key) for key in ("old-key", "new-key", "fixed-key")] == [401, 200, 200]

        for broken, reason in ((b"# none\n", "holds no key"), (b"\xff\xfe\x00", "not UTF-8"), (None, "cannot be read")):
            keys.unlink() if broken is None else keys.write_bytes(broken)
            server.process.send_signal(signal.SIGHUP)
            until(logged(server, reason))
            until(lambda: server.log.read_text().count("the earlier keys stay (3)") > 0)
            assert [status(server, key) for key in ("old-key", "new-key")] == [401, 200]

        for number in harmless:
            server.process.send_signal(number)
        assert status(server, "new-key") == 200
        log = server.log.read_text()
    assert "-key" not in log
    assert server.process.returncode == 0


def test_sighup_without_a_keys_file_is_ignored_and_said_so(faulty: Any) -> None:
    with faulty() as server:
        server.process.send_signal(signal.SIGHUP)
        until(logged(server, "RERANK_API_KEYS_FILE is not set"))

        assert httpx.post(f"{server.url}/v1/rerank", content=BODY, headers=HEADERS).status_code == 200


@pytest.mark.parametrize("first", [signal.SIGQUIT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(faulty: Any, first: signal.Signals) -> None:
    with faulty(RERANK_PRESTOP_SECONDS="600") as server:
        server.process.send_signal(first)
        until(draining(server))
        server.process.send_signal(signal.SIGQUIT)

        assert server.process.wait(timeout=30) == 128 + signal.SIGQUIT


def refused_start(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MODEL_NAME": "lite", "HOST": "127.0.0.1", "PORT": "0"} | settings
    return subprocess.run(
        [sys.executable, "-m", "rerank_server"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_server_on_one_socket_is_refused_and_takes_nothing_away(faulty: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with faulty(uds=path, RERANK_UDS_MODE="0600") as server:
        ended = refused_start(RERANK_UDS=str(path))
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url=server.url) as client:
            assert client.get("/livez").status_code == 200
        assert path.stat().st_mode & 0o777 == 0o600

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"rerank-server: cannot listen on {path}: another server listens there: stop it, or set RERANK_UDS"
    ]
    assert not path.exists()


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"HOST": "256.1.1.1"}, 1, "HOST"),
        ({"HOST": "192.0.2.1"}, 1, "HOST"),
        ({"RERANK_UDS": "/nowhere/socket"}, 1, "RERANK_UDS"),
        ({"RERANK_UDS": "/tmp/" + "x" * 200}, 1, "RERANK_UDS"),
        ({"RERANK_UDS": "/dev/null"}, 1, "RERANK_UDS"),
        ({"RERANK_UDS_MODE": "rw-rw----"}, 2, "RERANK_UDS_MODE"),
        ({"RERANK_MAX_CONNECTIONS": "10000000"}, 2, "RERANK_MAX_CONNECTIONS"),
        ({"RERANK_KEEP_ALIVE_SECONDS": "0"}, 2, "RERANK_KEEP_ALIVE_SECONDS"),
    ],
)
def test_what_cannot_be_listened_on_is_one_line_that_names_the_setting(
    settings: dict[str, str], code: int, named: str
) -> None:
    ended = refused_start(**settings)

    assert ended.returncode == code
    (line,) = ended.stderr.splitlines()
    assert line.startswith("rerank-server: ")
    assert named in line


def test_more_silent_connections_than_descriptors_keep_nobody_from_being_served(faulty: Any) -> None:
    with faulty() as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (48, 48))  # after the limit was worked out
        held = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(200)]
        statuses = [httpx.get(f"{server.url}/livez", timeout=30).status_code for _ in range(10)]
        for connection in held:
            connection.close()
        log = server.log.read_text()

    assert statuses == [200] * 10
    assert log.count("too many open files") == 1
