"""The same application on Ray Serve."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_server.ray
from rerank_core.errors import DeviceError, ModelError
from rerank_core.testing.doubles import OverlapModel
from rerank_server.ray import Replica, build, read, serve_here
from rerank_server.settings import Settings, SettingsError

LIMIT = 100.0  # seconds; processes that start on a busy machine
QUERY = "where do pandas live"
DOCUMENTS = ["a train to Paris", "pandas live in China", "the stock market"]


def on_ray(test: Any) -> Any:
    """Ray takes its time, and warns of itself: its use of pydantic, and what it leaves open."""
    return pytest.mark.timeout(240)(pytest.mark.filterwarnings("ignore")(test))


def test_arguments_are_settings_and_a_scale() -> None:
    settings, scale = read(
        {"MODEL_NAME": "lite", "RERANK_MAX_DOCUMENTS": 10, "max_replicas": "4", "num_cpus": 2},
        {"RERANK_MAX_DOCUMENTS": "20", "RERANK_LOG_FORMAT": "json", "PATH": "/bin"},
    )

    assert (settings.model, settings.max_documents, settings.log_format) == ("lite", 10, "json")
    assert (scale.min_replicas, scale.max_replicas) == (1, 4)
    assert settings.threads == 2


def test_threads_that_are_set_are_kept() -> None:
    settings, _ = read({"num_cpus": 2}, {"RERANK_THREADS": "1"})

    assert settings.threads == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas is 3, more than max_replicas, 2"),
        ({"max_replicas": "many"}, "max_replicas"),
        ({"replicas": "2"}, "replicas is no argument"),
        ({"RERANK_THREDS": "2"}, "did you mean RERANK_THREADS"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(arguments, {})


def test_without_ray_the_extra_is_named() -> None:
    code = """
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name="ray")

sys.meta_path.insert(0, Absent())
from rerank_server.ray import main
sys.exit(main(["MODEL_NAME=lite"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "install rerank-server[ray] (docs/install.md" in ended.stderr


@asynccontextmanager
async def living(replica: Replica) -> Any:
    app = await replica.__serve_build_asgi_app__()
    async with app.lifespan():
        yield app


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> OverlapModel:
    model = OverlapModel()
    monkeypatch.setattr(rerank_server.ray, "load_model", lambda _: model)
    monkeypatch.setattr(rerank_server.ray, "configure_logging", lambda *_: None)
    return model


async def test_a_replica_is_healthy_when_its_model_has_computed(overlap: OverlapModel) -> None:
    """Serve gives it requests from then on: none of them may meet a server that loads."""
    overlap.gate.clear()
    replica = Replica(Settings())
    async with living(replica) as app:
        asked = asyncio.create_task(replica.check_health())
        await asyncio.to_thread(overlap.started.wait, LIMIT)
        waits = not asked.done()
        overlap.gate.set()
        await asyncio.wait_for(asked, LIMIT)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            answered = await client.get("/readyz")

    assert waits
    assert answered.status_code == 200
    assert "X-Request-ID" not in answered.headers  # Serve adds it


async def test_a_replica_whose_device_is_lost_is_not_healthy(overlap: OverlapModel) -> None:
    replica = Replica(Settings())
    async with living(replica) as app:
        await asyncio.wait_for(replica.check_health(), LIMIT)
        overlap.fail_next = DeviceError("lost")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            failed = await client.post("/rerank", json={"query": QUERY, "passage": DOCUMENTS[0]})

        with pytest.raises(ModelError, match="cannot compute"):
            await replica.check_health()

    assert failed.status_code >= 500


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

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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
