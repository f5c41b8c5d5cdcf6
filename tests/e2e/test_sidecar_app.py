"""The app of ``deploy/docker-compose.demo.yml``, beside a real server."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


@contextmanager
def app(root: Path, sidecar: str) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"RERANK_URL": sidecar, "APP_PORT": str(port)}
    command = [sys.executable, str(root / "examples" / "sidecar_app" / "app.py")]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        transport = httpx.HTTPTransport(retries=10)  # until it listens
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30) as client:
            yield client
        process.terminate()


def test_it_ranks_its_passages_through_the_sidecar(root: Path, lite_server: Any) -> None:
    with app(root, lite_server.url) as client:
        ranked = client.get("/", params={"q": "what does a panda eat?"})
        asked_nothing = client.get("/")

    assert ranked.status_code == 200
    assert ranked.json()[0]["document"]["text"] == "Bamboo is nearly all that a panda eats."
    assert asked_nothing.status_code == 400


def test_it_says_so_where_there_is_no_sidecar(root: Path) -> None:
    with app(root, "http://127.0.0.1:1") as client:
        answer = client.get("/", params={"q": "panda"})

    assert answer.status_code == 502
    assert "the reranker did not answer" in answer.json()["detail"]
