"""The server process in this very process, on a Unix socket: exit codes, signals, and where it cannot start."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_core.errors import CheckpointError, DeviceError
from rerank_core.testing.doubles import OverlapModel
from rerank_server.__main__ import main
from rerank_server.lifecycle.lifecycle import Lifecycle
from rerank_server.process.healthcheck import is_ready
from rerank_server.process.server import serve
from rerank_server.settings import Settings, SettingsError

PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The handlers of this process are as before afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def path() -> Iterator[str]:
    """The path of a Unix socket, which has to be short."""
    with tempfile.TemporaryDirectory() as directory:
        yield f"{directory}/socket"


@pytest.fixture
def model() -> OverlapModel:
    return OverlapModel()


class Outside:
    """Does something in another thread as soon as the server is ready, which has to end the server."""

    def __init__(self, settings: Settings, act: Callable[[httpx.Client], object]) -> None:
        self._settings = settings
        self._act = act
        self._thread = threading.Thread(target=self._run)
        self.failure: BaseException | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not is_ready(self._settings)[0]:
                pass
            transport = httpx.HTTPTransport(uds=self._settings.uds)
            with httpx.Client(transport=transport, base_url="http://server", timeout=60) as client:
                self._act(client)
        except BaseException as error:
            self.failure = error
            if is_ready(self._settings)[0]:
                os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_first_signal_drains_and_what_is_in_flight_is_answered(path: str, model: OverlapModel, number: int) -> None:
    settings = Settings(uds=path)
    answers = []

    def act(client: httpx.Client) -> None:
        model.gate.clear()
        model.started.clear()
        asking = threading.Thread(target=lambda: answers.append(client.post("/rerank", json=PAIR).status_code))
        asking.start()
        model.started.wait()
        os.kill(os.getpid(), number)
        while client.get("/readyz").status_code == 200:
            pass
        answers.append(client.post("/rerank", json=PAIR).status_code)
        model.gate.set()
        asking.join()

    with Outside(settings, act):
        code = serve(settings, load=lambda _: model)

    assert (code, answers) == (0, [503, 200])
    assert not Path(path).exists()


def test_the_second_signal_ends_at_once_with_its_number(path: str, model: OverlapModel) -> None:
    settings = Settings(uds=path, prestop_seconds=60)

    def act(client: httpx.Client) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            pass
        os.kill(os.getpid(), signal.SIGQUIT)

    with Outside(settings, act):
        code = serve(settings, load=lambda _: model)

    assert code == 128 + signal.SIGQUIT
    os.kill(os.getpid(), signal.SIGHUP)  # one that comes after the end does nothing


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Does something in the middle of the start, before connections are accepted."""

    def starting(act: Callable[[], None]) -> None:
        run = Lifecycle.run

        @asynccontextmanager
        async def running(lifecycle: Lifecycle) -> AsyncIterator[None]:
            async with run(lifecycle):
                act()
                yield

        monkeypatch.setattr(Lifecycle, "run", running)

    return starting


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_while_the_server_starts_ends_it(path: str, model: OverlapModel, starting: Any, number: int) -> None:
    starting(lambda: signal.raise_signal(number))

    assert serve(Settings(uds=path), load=lambda _: model) == 0
    assert not Path(path).exists()


def test_an_application_that_does_not_start_ends_the_process_with_status_1(
    path: str, model: OverlapModel, starting: Any
) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    starting(fail)

    assert serve(Settings(uds=path), load=lambda _: model) == 1
    assert not Path(path).exists()


def connected(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def test_a_connection_without_a_request_is_closed_at_the_end(
    path: str, model: OverlapModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank_server.process.server._GRACE", 0.0)
    ends = []

    def act(client: httpx.Client) -> None:
        with connected(path) as silent:
            client.get("/livez")  # it has been accepted by then
            os.kill(os.getpid(), signal.SIGTERM)
            ends.append(silent.recv(100))

    with Outside(Settings(uds=path), act):
        assert serve(Settings(uds=path), load=lambda _: model) == 0

    assert ends == [b""]


def test_a_client_that_takes_nothing_of_its_answer_does_not_keep_the_server_from_ending(
    path: str, model: OverlapModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank_server.process.server._GRACE", 0.0)
    monkeypatch.setattr("rerank_server.process.server._FLUSH_SECONDS", 0.05)
    open_clients = []

    def act(client: httpx.Client) -> None:
        reader = connected(path)
        open_clients.append(reader)
        reader.sendall(b"GET /static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reader.recv(9) == b"HTTP/1.1 "
        os.kill(os.getpid(), signal.SIGTERM)

    with Outside(Settings(uds=path), act):
        assert serve(Settings(uds=path), load=lambda _: model) == 0

    open_clients[0].close()


def test_where_not_even_the_last_answers_can_be_sent_nobody_is_waited_for(
    path: str, model: OverlapModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drain(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(Lifecycle, "drain", drain)
    monkeypatch.setattr("rerank_server.process.server._GRACE", 1000.0)
    open_clients = []

    def act(client: httpx.Client) -> None:
        open_clients.append(connected(path))
        client.get("/livez")  # it has been accepted by then
        os.kill(os.getpid(), signal.SIGTERM)

    with Outside(Settings(uds=path), act):
        assert serve(Settings(uds=path), load=lambda _: model) == 0

    open_clients[0].close()


def test_keys_are_read_again_at_sighup(path: str, model: OverlapModel, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old\n")
    settings = Settings(uds=path, api_keys_file=str(keys))
    statuses = []

    def act(client: httpx.Client) -> None:
        def ask(key: str) -> int:
            return client.get("/info", headers={"Authorization": f"Bearer {key}"}).status_code

        statuses.extend([ask("old"), ask("new")])
        keys.write_text("new\n")
        os.kill(os.getpid(), signal.SIGHUP)
        while ask("new") != 200:
            pass
        statuses.append(ask("old"))
        os.kill(os.getpid(), signal.SIGTERM)

    with Outside(settings, act):
        assert serve(settings, load=lambda _: model) == 0

    assert statuses == [200, 401, 401]


def test_a_healthcheck_asks_at_the_socket(
    path: str, model: OverlapModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RERANK_UDS", path)
    codes = []

    def act(_: httpx.Client) -> None:
        codes.append(main(["--ready"]))
        os.kill(os.getpid(), signal.SIGTERM)

    with Outside(Settings(uds=path), act):
        assert serve(Settings(uds=path), load=lambda _: model) == 0

    assert codes == [0]
    assert capsys.readouterr().out == '200 {"status":"healthy"}\n'


def test_a_healthcheck_says_that_something_else_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        ready = is_ready(Settings(host="0.0.0.0", port=other.getsockname()[1]))
        thread.join()

    assert ready == (False, "no HTTP: BadStatusLine")


def test_a_model_that_cannot_be_loaded_or_loses_its_device_ends_the_process_with_status_1(
    path: str, model: OverlapModel
) -> None:
    def fail(_: Settings) -> OverlapModel:
        raise CheckpointError("no such model")

    settings = Settings(uds=path)

    def act(client: httpx.Client) -> None:
        model.fail_next = DeviceError("lost")
        assert client.post("/rerank", json=PAIR).status_code == 500

    assert serve(settings, load=fail) == 1
    with Outside(settings, act):
        assert serve(settings, load=lambda _: model) == 1


def test_a_drain_that_takes_too_long_refuses_a_request_that_is_half_sent(path: str, model: OverlapModel) -> None:
    settings = Settings(uds=path, drain_seconds=1)
    answered = []

    def act(client: httpx.Client) -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(path)
            slow.sendall(b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
            client.get("/livez")  # the head has been read by then
            os.kill(os.getpid(), signal.SIGTERM)
            answered.append(slow.recv(65536))

    with Outside(settings, act):
        assert serve(settings, load=lambda _: model) == 0

    assert answered[0].startswith(b"HTTP/1.1 503 ")
    assert b'"code":"unavailable"' in answered[0]


def test_a_port_that_is_taken_is_said_and_status_1(model: OverlapModel, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = serve(Settings(host="127.0.0.1", port=port), load=lambda _: model)

    assert code == 1
    assert capsys.readouterr().err.startswith(f"rerank-server: cannot listen on 127.0.0.1:{port}: ")


def test_more_connections_than_files_are_a_wrong_setting(model: OverlapModel) -> None:
    with pytest.raises(SettingsError, match="RERANK_MAX_CONNECTIONS is 100000000"):
        serve(Settings(max_connections=100_000_000), load=lambda _: model)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_log_says_where_it_listens(host: str, model: OverlapModel, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        port = free.getsockname()[1]
    settings = Settings(host=host, port=port)

    def ready() -> None:
        while not is_ready(settings)[0]:
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ready)
    thread.start()
    with caplog.at_level("INFO", "rerank_server"):
        assert serve(settings, load=lambda _: model) == 0
    thread.join()

    shown = f"[{host}]" if ":" in host else host
    assert f"listening on http://{shown}:{port}" in caplog.text
