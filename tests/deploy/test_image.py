"""The image, built and run by a real engine: with lite, a directory of the build context, and a hub on loopback."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from rerank_core.testing.hub import COMMIT, serve_hub

pytestmark = pytest.mark.timeout(900)

DOCKER = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"  # Debian's has BuildKit
HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
LIMITED = ["--pids-limit", "200", "--memory", "4g", "--network", "host"]


def docker(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [DOCKER, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=850, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.strip()


def has_engine() -> bool:
    try:
        return subprocess.run([DOCKER, "version"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture(scope="module")
def context(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has of the repository, with a tiny model beside it: a build context of its own."""
    if not has_engine():
        pytest.skip("SKIPPED LOUDLY: no Docker engine answers, the image is not built")
    context = tmp_path_factory.mktemp("context")
    for name in ("packages", "tools", "pyproject.toml", "uv.lock", "LICENSE", "Dockerfile", ".dockerignore"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__", "dist"))
        else:
            shutil.copyfile(source, context / name)
    write_tiny_checkpoint(context / "models" / "tiny", "xlm-roberta")
    return context


@pytest.fixture(scope="module")
def find_links() -> Iterator[str]:
    """Serves this machine's own wheels to the build, where it has some; else the build asks PyTorch's index."""
    folder = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS") or ""
    if not Path(folder).is_dir() or not folder:
        yield folder
        return
    port = free_port()
    serving = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", folder]
    with subprocess.Popen(serving, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield f"http://127.0.0.1:{port}/"
        server.terminate()


def build(context: Path, tag: str, find_links: str, **arguments: str) -> str:
    given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    links = ["--build-arg", f"FIND_LINKS={find_links}"]
    docker("build", "--network", "host", "-t", tag, *links, *given, str(context), DOCKER_BUILDKIT="1")
    return tag


@pytest.fixture(scope="module")
def lite_image(context: Path, find_links: str) -> str:
    return build(context, "rerank-test:lite", find_links, MODEL_NAME="lite")


@pytest.fixture(scope="module")
def local_image(context: Path, find_links: str) -> str:
    return build(
        context, "rerank-test:local", find_links,
        MODEL_SOURCE="local", MODEL_DIR="models/tiny", MODEL_NAME="tiny/reranker", MODEL_DTYPE="float16",
    )  # fmt: skip


@pytest.fixture(scope="module")
def hub_image(context: Path, find_links: str) -> Iterator[tuple[str, list[str]]]:
    """An image and the files that its build asked a hub for."""
    with serve_hub() as (hub, address):
        hub.repositories["somebody/tiny"] = context / "models" / "tiny"
        image = build(
            context, "rerank-test:hub", find_links,
            MODEL_NAME="somebody/tiny", MODEL_REVISION=COMMIT, HF_ENDPOINT=address,
        )  # fmt: skip
        yield image, hub.asked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(image: str, *options: str) -> Iterator[tuple[str, httpx.Client]]:
    port = free_port()
    settings = ["-e", f"PORT={port}", "-e", "HOST=127.0.0.1"]
    name = docker("run", "-d", *HARDENED, *LIMITED, *settings, *options, image)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, name)
            yield name, client
    finally:
        docker("rm", "-f", name)


def wait_until_ready(client: httpx.Client, name: str) -> None:
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # between two questions to another process
    pytest.fail(f"the container was not ready: {docker('logs', name)}")


def inspect(name: str, what: str) -> Any:
    return json.loads(docker("inspect", name, "--format", f"{{{{json {what}}}}}"))


def inside(image: str, code: str) -> str:
    return docker("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", code)


def test_a_hardened_container_scores_and_stops_cleanly(lite_image: str) -> None:
    with running(lite_image) as (name, client):
        health = client.get("/health").json()
        scored = client.post("/rerank", json={"query": "What is a panda?", "passage": "A bear of China."})
        asked = docker("exec", name, "rerank-server", "--ready")
        docker("stop", name)
        state = inspect(name, ".State")

    assert (health["status"], health["model_name"]) == ("healthy", "bi-encoder, lite")
    assert 0 < scored.json()["score"] < 1
    assert asked.startswith("200")
    assert state["ExitCode"] == 0


def test_the_container_of_the_readme_answers_the_curl_of_the_readme(root: Path, lite_image: str) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    _, *run, image = shlex.split("".join(re.findall(r"^\$ (docker run .*)$", readme, re.MULTILINE)), comments=True)
    (curl,) = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", readme, re.MULTILINE)
    port = str(free_port())
    # An engine without a bridge cannot publish ports: there the container has the host's network.
    bridged = docker("network", "ls", "--quiet", "--filter", "driver=bridge")
    there = [] if bridged else ["--network", "host", "-e", f"PORT={port}"]

    name = docker(*[part.replace("8000:", f"{port}:") for part in run], "-d", *there, lite_image)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client, name)
        asked = curl.replace("localhost:8000", f"127.0.0.1:{port}")
        answer = json.loads(subprocess.run(["sh", "-c", asked], capture_output=True, timeout=60, check=True).stdout)
    finally:
        docker("rm", "-f", name)

    assert image == "rerank"  # as `make build` calls it
    assert [result["index"] for result in answer["results"]] == [1, 0]


def test_a_container_that_is_killed_starts_again(lite_image: str) -> None:
    with running(lite_image, "--restart", "on-failure:3") as (name, client):
        os.kill(inspect(name, ".State.Pid"), 9)
        wait_until_ready(client, name)

        assert inspect(name, ".RestartCount") == 1


def test_it_is_not_root_and_can_write_nowhere_but_below_tmp(lite_image: str) -> None:
    with running(lite_image) as (name, _):
        code = (
            "import os, pathlib\n"
            "print(os.getuid(), os.getgid(), [line for line in open('/proc/1/status') if line.startswith('CapEff')])\n"
            "for place in ('/', '/models', '/opt/rerank', '/tmp'):\n"
            "    try: pathlib.Path(place, 'x').write_text(''); print('wrote', place)\n"
            "    except OSError: pass\n"
        )
        said = docker("exec", name, "python", "-c", code).splitlines()

    assert said == ["10001 10001 ['CapEff:\\t0000000000000000\\n']", "wrote /tmp"]


def test_no_gpu_package_is_in_the_cpu_image(lite_image: str) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    packages = inside(lite_image, code).split()

    assert "torch" in packages
    assert [name for name in packages if name.startswith(("nvidia", "triton", "cuda"))] == []


def test_the_image_says_how_it_runs(lite_image: str) -> None:
    config = inspect(lite_image, ".Config")

    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["rerank-server"]
    assert config["Healthcheck"]["Test"] == ["CMD", "rerank-server", "--ready"]
    assert {"HF_HUB_OFFLINE=1", "MODEL_NAME=/models/baked"} <= set(config["Env"])
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not config.get("Volumes")


def test_a_directory_is_baked_in_under_its_name_in_float16(local_image: str) -> None:
    with running(local_image) as (name, client):
        health = client.get("/health").json()
        manifest = json.loads(
            docker("exec", name, "python", "-c", "print(open('/models/baked/rerank-manifest.json').read())")
        )

    assert health["model_name"] == manifest["model"] == "tiny/reranker"


def test_a_model_of_the_hub_is_fetched_once_and_never_asked_for_again(hub_image: tuple[str, list[str]]) -> None:
    image, asked = hub_image
    fetched = list(asked)
    with running(image) as (name, client):
        root = client.get("/").json()
        manifest = json.loads(
            docker("exec", name, "python", "-c", "print(open('/models/baked/rerank-manifest.json').read())")
        )

    assert "model.safetensors" in fetched
    assert asked == fetched  # the container asked for nothing
    assert (manifest["model"], manifest["revision"]) == ("somebody/tiny", COMMIT)
    assert root["model"]["name"] == "somebody/tiny"


def test_a_model_that_was_changed_in_the_image_is_refused(local_image: str) -> None:
    code = (
        "import pathlib, shutil, subprocess, os\n"
        "shutil.copytree('/models/baked', '/tmp/changed')\n"
        "file = pathlib.Path('/tmp/changed/model.safetensors')\n"
        "file.write_bytes(file.read_bytes()[:-1] + b'?')\n"
        "done = subprocess.run(['rerank-server', '--check'], env=os.environ | {'MODEL_NAME': '/tmp/changed'},\n"
        "                      capture_output=True, text=True)\n"
        "print(done.returncode, done.stderr)\n"
    )
    said = inside(local_image, code)

    assert said.startswith("1 ")
    assert "model.safetensors" in said
