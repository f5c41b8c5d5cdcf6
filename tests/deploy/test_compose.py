"""The compose files, as text: what they set is what the server knows."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rerank_server.settings import settings_fields, variable_of

SERVER = {variable_of(field.name) for field in settings_fields()}
APP = {"RERANK_URL"}  # of examples/sidecar_app


def test_every_variable_is_a_setting(root: Path) -> None:
    files = [root / "deploy" / "docker-compose.yml", root / "deploy" / "docker-compose.demo.yml"]
    named = {name for file in files for name in re.findall(r"\bRERANK_[A-Z_]+", file.read_text())}

    assert "RERANK_API_KEYS" in named
    assert named <= SERVER | APP


OF_THE_IMAGE = {"MODEL_NAME", "HOST", "PORT"}


def test_every_setting_reaches_the_container(root: Path) -> None:
    """A variable without a value is passed on as it is, and is not set where the environment lacks it."""
    service = yaml.safe_load((root / "deploy" / "docker-compose.yml").read_text())["services"]["reranker"]

    assert service["environment"] == dict.fromkeys(SERVER - OF_THE_IMAGE)


def test_compose_passes_on_what_is_set(root: Path) -> None:
    files = ["-f", "deploy/docker-compose.yml", "-f", "deploy/docker-compose.gpu.yml"]
    for program in (["docker", "compose"], ["docker-compose"]):
        done = subprocess.run(
            [*program, *files, "config"],
            cwd=root, env={"PATH": os.environ["PATH"], "RERANK_TIMEOUT": "60"}, capture_output=True, text=True,
            timeout=60, check=False,
        ) if shutil.which(program[0]) else None  # fmt: skip
        if done is not None and done.returncode == 0:
            break
    else:
        pytest.skip("SKIPPED LOUDLY: there is no compose, the files were only read as text")

    service = yaml.safe_load(done.stdout)["services"]["reranker"]

    assert {name: value for name, value in service["environment"].items() if value is not None} == {
        "RERANK_TIMEOUT": "60", "RERANK_DEVICE": "cuda", "RERANK_DTYPE": "float16",
    }  # fmt: skip
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_compose_waits_longer_than_the_server_drains(root: Path) -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", (root / "deploy" / "docker-compose.yml").read_text())
    defaults = {field.name: field.default for field in settings_fields()}

    assert grace is not None
    assert int(grace[1]) > defaults["prestop_seconds"] + defaults["drain_seconds"]
