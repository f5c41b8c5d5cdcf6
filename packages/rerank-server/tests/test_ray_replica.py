"""A replica of Ray Serve and the arguments of its command, without Ray."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_server.ray
from rerank_core.errors import DeviceError, ModelError
from rerank_core.testing.doubles import OverlapModel
from rerank_server.ray import Replica, _run_until_signal, build, main, read
from rerank_server.settings import Settings, SettingsError

LIMIT = 100.0  # seconds; a busy machine
PAIR = {"query": "where do pandas live", "passage": "pandas live in China"}


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


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of Ray has been imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("no_ray")
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] == "ray":
                raise ModuleNotFoundError(f"No module named {name!r}", name="ray")

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])

    assert main(["MODEL_NAME=lite"]) == 1
    assert "install rerank-server[ray] (docs/install.md" in capsys.readouterr().err


@pytest.mark.usefixtures("no_ray")
def test_a_ray_that_is_broken_keeps_its_own_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ray"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "serve.py").write_text("import needed_by_ray\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="needed_by_ray"):
        build({"MODEL_NAME": "lite"})
    for name in ("ray", "ray.serve"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("lite", "'lite' is not NAME=VALUE"),
        ("replicas=2", "replicas is no argument"),
        ("PORT=0", "Ray Serve listens at HOST and PORT"),
        ("RERANK_UDS=/run/rerank", "Ray Serve listens at HOST and PORT"),
    ],
)
def test_a_wrong_argument_of_the_command_is_status_2(
    argument: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument]) == 2
    assert capsys.readouterr().err.startswith(f"rerank_server.ray: {said}")


def test_the_arguments_of_the_command_are_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ray.py", "lite"])

    assert main() == 2
    assert "'lite' is not NAME=VALUE" in capsys.readouterr().err


def start_for_ever() -> None:
    """Look again and again, as Serve does: a signal that comes just before Python sleeps is seen when it wakes."""
    while True:
        time.sleep(0.05)


@pytest.mark.parametrize("run", [start_for_ever, lambda: None], ids=["while it starts", "while it serves"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_runs_until_a_signal(number: int, run: Callable[[], object]) -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}

    def interrupt() -> None:
        while signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]:
            pass  # it does not wait yet
        os.kill(os.getpid(), number)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        _run_until_signal(run)
    finally:
        interrupting.join()
        for one, handler in before.items():
            signal.signal(one, handler)


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
            failed = await client.post("/rerank", json=PAIR)

        with pytest.raises(ModelError, match="cannot compute"):
            await replica.check_health()

    assert failed.status_code >= 500
