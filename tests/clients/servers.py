"""Real servers, in processes of their own, and one of them full."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
MODEL = "lite"
_FAULTY = Path(__file__).parent.parent / "e2e" / "faulty_server.py"
_START_LIMIT = 120.0  # seconds; imports and loading on a busy machine
_POLL = 0.1
_HELD_PAIRS = 6


class NotStarted(Exception):
    """A server ended, or was not ready in time: the message has the end of its log."""


@contextmanager
def server(log: Path, *, command: Sequence[str] = ("-m", "rerank_server"), **settings: str) -> Iterator[str]:
    """A server's address while the block runs. What the environment says of another server is not for this one."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        url = f"http://{HOST}:{probe.getsockname()[1]}"
    ours = {"MODEL_NAME": MODEL, "HOST": HOST, "PORT": url.rpartition(":")[2]} | settings
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("RERANK_") and name != "USE_FP16"
    }
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, *command], env=inherited | ours, stdout=output, stderr=output)
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def instructed_server(log: Path) -> Iterator[str]:
    """A server whose model takes an instruction: it counts words."""
    with server(log, command=(str(_FAULTY),), MODEL_NAME="overlap", INSTRUCTION="") as url:
        yield url


@contextmanager
def full_server(folder: Path) -> Iterator[str]:
    """A server whose room is taken, for as long as the block runs, by a request that does not end."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    settings = {"MODEL_NAME": "overlap", "FIFO": str(fifo), "RERANK_TIMEOUT": "7200", "RERANK_STUCK_SECONDS": "7200"}
    settings |= dict.fromkeys(("RERANK_MAX_QUEUE_PAIRS", "RERANK_MAX_DOCUMENTS"), str(_HELD_PAIRS))
    with server(folder / "full.log", command=(str(_FAULTY),), **settings) as url:
        documents = ["hold", *(["text"] * (_HELD_PAIRS - 1))]
        holding = threading.Thread(target=_hold, args=(f"{url}/v1/rerank", documents), daemon=True)
        holding.start()
        try:
            _wait_until_full(url)
            yield url
        finally:
            with suppress(OSError):  # whoever waits for a writer goes on; nobody does if the server has ended
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            holding.join(timeout=10)


def _hold(url: str, documents: Sequence[str]) -> None:
    body = json.dumps({"query": "text", "documents": documents}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=7200) as answer:
        answer.read()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise NotStarted(f"it ended with {process.returncode}: {_end(log)}")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=10).close()
        except OSError:  # not listening, or 503
            time.sleep(_POLL)
        else:
            return
    raise NotStarted(f"it was not ready in {_START_LIMIT:.0f} s: {_end(log)}")


def _wait_until_full(url: str) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        if any(line.startswith("rerank_in_flight_pairs ") and float(line.split()[1]) == _HELD_PAIRS for line in lines):
            return
        time.sleep(_POLL)
    raise NotStarted("it was never full")


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
