"""The systemd unit, as text and as systemd reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rerank_server.settings import settings_fields, variable_of

SERVER = {variable_of(field.name) for field in settings_fields()}
OTHERS = {"HF_HUB_OFFLINE"}


@pytest.fixture(scope="module")
def unit(root: Path) -> str:
    return (root / "deploy" / "systemd" / "rerank.service").read_text(encoding="utf-8")


def test_every_variable_is_a_setting(unit: str) -> None:
    set_here = re.search(r"^Environment=(.*)$", unit, re.MULTILINE)

    assert set_here is not None
    assert {pair.partition("=")[0] for pair in set_here[1].split()} <= SERVER | OTHERS


def test_systemd_waits_longer_than_the_server_drains(unit: str) -> None:
    waits = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    defaults = {field.name: field.default for field in settings_fields()}

    assert waits is not None
    assert int(waits[1]) >= defaults["prestop_seconds"] + defaults["drain_seconds"] + 10


def test_systemd_takes_the_unit_as_it_is(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("SKIPPED LOUDLY: there is no systemd-analyze here")
    command = tmp_path / "rerank-server"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    file = tmp_path / "rerank.service"
    file.write_text(unit.replace("/opt/rerank/venv/bin/rerank-server", str(command)))

    checked = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
