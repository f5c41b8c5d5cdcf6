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
SHARED = Path(os.environ.get("RERANK_SHARED", ROOT.parent / "shared"))

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
def _serving(log: Path, model: str | Path, **settings: str) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MODEL_NAME": str(model), "HOST": "127.0.0.1", "PORT": str(port)} | settings
    with log.open("w") as output:
        process = subprocess.Popen(SERVER, env=environment, stdout=output, stderr=output, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, log)
        yield Server(url, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()}")
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)  # between two questions to another process; nothing here depends on how long
    pytest.fail(f"the server was not ready in {START_LIMIT:.0f} s:\n{log.read_text()}")


@pytest.fixture
def serving(tmp_path: Path) -> Callable[..., object]:
    """Starts a server of one's own: ``with serving(model, PORT=...) as server``."""
    return lambda model, **settings: _serving(tmp_path / "server.log", model, **settings)


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
