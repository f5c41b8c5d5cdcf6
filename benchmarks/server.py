"""A server in a process of its own, started for a benchmark and stopped after it."""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import usable_cores
from systems import DTYPES
from workers import last_words

HOST = "127.0.0.1"
LIMIT = 1800.0  # seconds that any request may take; only against hanging for ever

_START_LIMIT = 300.0  # seconds; a large model on a slow disk
_STOP_LIMIT = 60.0
# The process's own settings, which must not come from whoever runs the benchmark.
_DOCUMENTED = {"MODEL_NAME", "PORT", "HOST", "USE_FP16", "CORS_ORIGINS"}


@dataclass(frozen=True, slots=True)
class Server:
    """A process that takes requests on 127.0.0.1."""

    port: int
    pid: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every benchmark of the server is asked."""
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument(
        "--cores",
        type=int,
        nargs="+",
        default=usable_cores(),
        help="with a thread each, for the server and its clients together (default: all)",
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")


@contextmanager
def serving(arguments: argparse.Namespace, log: Path, **settings: object) -> Iterator[Server]:
    """A server as ``add_arguments`` was answered, with ``RERANK_...`` settings by their names, without a score cache.

    It runs on the cores of this process. Raises ``RuntimeError`` where it does not become ready.
    """
    port = free_port()
    own = {
        "MODEL_NAME": arguments.checkpoint,
        "HOST": HOST,
        "PORT": port,
        "RERANK_ENGINE": "packed",
        "RERANK_DEVICE": "cpu",
        "RERANK_DTYPE": arguments.dtype,
        "RERANK_MAX_LENGTH": arguments.max_length,
        "RERANK_THREADS": len(arguments.cores),
        "RERANK_CACHE_MB": 0,
        "RERANK_TIMEOUT": LIMIT,
        "RERANK_RECEIVE_TIMEOUT": LIMIT,  # a connection is opened before its round begins
        "RERANK_DRAIN_SECONDS": 1,
        **settings,
        # As for the model in process.
        "OMP_NUM_THREADS": len(arguments.cores),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rerank_server"],
            env=_outer_environment() | {name: str(value) for name, value in own.items()},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_ready(port, process, log)
        yield Server(port, process.pid)
    finally:
        stop(process)


def check_statuses(found: Sequence[int], allowed: Sequence[int] = (200,)) -> None:
    """Raises ``RuntimeError`` where an answer has another status."""
    others = sorted(set(found) - set(allowed))
    if others:
        raise RuntimeError(f"the server answered {', '.join(str(status) for status in others)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _outer_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name not in _DOCUMENTED and not name.startswith("RERANK_")
    }


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {last_words(log.read_text())}")
        if _is_ready(port):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready in {_START_LIMIT:.0f} s: {last_words(log.read_text())}")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
