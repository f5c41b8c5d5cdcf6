"""The same application on Ray Serve. What needs no Ray is in ``test_ray_replica.py``."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_server.ray import build, serve_here

LIMIT = 100.0  # seconds; processes that start on a busy machine
QUERY = "where do pandas live"
DOCUMENTS = ["a train to Paris", "pandas live in China", "the stock market"]


def on_ray(test: Any) -> Any:
    """Ray takes its time, and warns of itself: its use of pydantic, and what it leaves open."""
    return pytest.mark.timeout(240)(pytest.mark.filterwarnings("ignore")(test))


@dataclass(frozen=True, slots=True)
class OnServe:
    """A server that takes requests, and the Ray that it runs on."""

    url: str
    ray: Any

    def replica(self) -> int:
        """The process of the only replica."""
        (name,) = [
            actor["name"]
            for actor in self.ray.util.list_named_actors(all_namespaces=True)
            if actor["name"].startswith("SERVE_REPLICA")
        ]
        actor = self.ray.get_actor(name, namespace="serve")
        pid: int = self.ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=LIMIT)
        return pid


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    pytest.importorskip("torch", reason="SKIPPED LOUDLY: the extra 'torch' is not installed")
    from rerank_core.testing.checkpoints import write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as directory:
        yield write_tiny_checkpoint(Path(directory) / "tiny")


@pytest.fixture(scope="module")
def on_serve(checkpoint: Path) -> Iterator[OnServe]:
    """One for all tests: Ray takes its time."""
    ray = pytest.importorskip("ray", reason="SKIPPED LOUDLY: the extra 'ray' is not installed")
    from ray import serve

    port = free_port()
    directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: Ray makes Unix sockets in it
    try:
        serve_here(
            build({"MODEL_NAME": str(checkpoint), "max_replicas": 1, "num_cpus": 1}),
            host="127.0.0.1", port=port,
            num_cpus=2, object_store_memory=100_000_000, log_to_driver=False, _temp_dir=directory,
        )  # fmt: skip
        yield OnServe(f"http://127.0.0.1:{port}", ray)
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@on_ray
def test_the_command_serves_until_it_is_terminated_and_ends_with_status_0(checkpoint: Path) -> None:
    pytest.importorskip("ray", reason="SKIPPED LOUDLY: the extra 'ray' is not installed")
    port = free_port()
    command = [sys.executable, "-m", "rerank_server.ray", f"MODEL_NAME={checkpoint}", "HOST=127.0.0.1", f"PORT={port}"]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as directory:
        environ = {**os.environ, "RAY_TMPDIR": directory, "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "100000000"}
        with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                until_ready(f"http://127.0.0.1:{port}/readyz", process)
                process.terminate()
                status = process.wait(LIMIT)
            finally:
                process.kill()

    assert status == 0
    with socket.create_server(("127.0.0.1", port)):  # nobody listens there any more
        pass


def until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LIMIT
    while process.poll() is None:
        assert time.monotonic() < until, f"not ready in {LIMIT:.0f} s"
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise AssertionError(f"it ended with status {process.returncode}")


@on_ray
def test_scores_through_serve_are_those_of_the_model(on_serve: OnServe, checkpoint: Path) -> None:
    from rerank_core import load

    answer = httpx.post(f"{on_serve.url}/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}, timeout=LIMIT)

    assert answer.status_code == 200, answer.text
    scores = {result["index"]: result["relevance_score"] for result in answer.json()["results"]}
    expected = load(str(checkpoint)).score(QUERY, DOCUMENTS).values
    assert [scores[index] for index in range(3)] == pytest.approx(expected, abs=1e-12)
    assert len(answer.headers.get_list("X-Request-ID")) == 1


@on_ray
def test_a_replica_that_is_killed_comes_back(on_serve: OnServe) -> None:
    question = {"query": QUERY, "documents": DOCUMENTS}
    before = httpx.post(f"{on_serve.url}/v1/rerank", json=question, timeout=LIMIT).json()["results"]
    killed = on_serve.replica()

    os.kill(killed, signal.SIGKILL)

    until, answer = time.monotonic() + LIMIT, None
    while answer is None or answer.status_code != 200:
        assert time.monotonic() < until, f"not back in {LIMIT:.0f} s"
        try:
            answer = httpx.post(f"{on_serve.url}/v1/rerank", json=question, timeout=5)
        except httpx.TransportError:  # it went to the one that is gone
            answer = None
    assert answer.json()["results"] == before
    assert on_serve.replica() != killed


@on_ray
def test_serve_gives_no_reports_to_its_makers(on_serve: OnServe) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
