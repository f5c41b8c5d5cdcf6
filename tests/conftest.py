"""What the tests of the whole share: real models on disk, real servers in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from rerank_core.testing.checkpoints import write_tiny_checkpoint

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))

START_LIMIT = 100.0  # seconds; imports and loading on a busy machine
SERVER = (sys.executable, "-m", "rerank_server")


@dataclass(frozen=True, slots=True)
class Server:
    """A server process that takes requests."""

    url: str
    process: subprocess.Popen[str]
    log: Path


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random XLM-RoBERTa cross-encoder."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny", "xlm-roberta")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The small trained cross-encoder; skips where it is absent."""
    path = SHARED / "models" / "minilm-ce"
    if not path.is_dir():
        pytest.skip(f"SKIPPED LOUDLY: the trained cross-encoder is not at {path}")
    return path


@contextmanager
def _serving(
    log: Path, model: str | Path, command: tuple[str, ...] = SERVER, uds: Path | None = None, **settings: str
) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"HOST": "127.0.0.1", "PORT": str(port)} if uds is None else {"RERANK_UDS": str(uds)}
    with log.open("w") as output:
        environment = os.environ | {"MODEL_NAME": str(model)} | where | settings
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
    server = Server(f"http://127.0.0.1:{port}" if uds is None else "http://socket", process, log)
    try:
        with httpx.Client(base_url=server.url, transport=httpx.HTTPTransport(uds=str(uds) if uds else None)) as client:
            _wait_until_ready(client, server, uds)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_until_ready(client: httpx.Client, server: Server, uds: Path | None) -> None:
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if server.process.poll() is not None:
            pytest.fail(f"the server ended with {server.process.returncode}:\n{server.log.read_text()}")
        try:
            if (uds is None or uds.exists()) and client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)  # between two questions to another process; nothing here depends on how long
    pytest.fail(f"the server was not ready in {START_LIMIT:.0f} s:\n{server.log.read_text()}")


@pytest.fixture(scope="session")
def serve_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """As ``serving``, for fixtures that are shared by several tests."""
    return lambda model, **settings: _serving(tmp_path_factory.mktemp("server") / "log", model, **settings)


@pytest.fixture
def serving(tmp_path: Path) -> Callable[..., object]:
    """Starts a server of one's own: ``with serving(model, PORT=...) as server``."""
    return lambda model, **settings: _serving(tmp_path / "server.log", model, **settings)


@pytest.fixture
def faulty(tmp_path: Path) -> Callable[..., object]:
    """Starts a server whose model obeys words in the documents: see ``e2e/faulty_server.py``. It holds at ``fifo``."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = (sys.executable, str(ROOT / "tests" / "e2e" / "faulty_server.py"))
    return lambda **settings: _serving(tmp_path / "server.log", "overlap", command, FIFO=str(fifo), **settings)


@pytest.fixture(scope="session")
def tiny_server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the tiny model, for all tests that only ask."""
    with _serving(tmp_path_factory.mktemp("server") / "log", tiny) as server:
        yield server


@pytest.fixture(scope="session")
def lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the lite model."""
    with _serving(tmp_path_factory.mktemp("server") / "log", "lite") as server:
        yield server
