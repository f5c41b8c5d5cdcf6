"""Several servers behind HAProxy, as ``deploy/haproxy/haproxy.cfg`` has it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rerank_core.checkpoints.manifest import write_manifest
from rerank_core.testing.checkpoints import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="SKIPPED LOUDLY: there is no haproxy here"),
    pytest.mark.timeout(600),  # seven servers are started
]


def test_haproxy_takes_the_configuration_as_it_is() -> None:
    command = ["haproxy", "-c", "-f", str(ROOT / "deploy" / "haproxy" / "haproxy.cfg")]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("retries", [3, 0], ids=["the client tries again", "HAProxy alone does"])
def test_no_request_fails_when_one_of_three_servers_is_killed_in_the_middle_of_the_load(
    tmp_path: Path, retries: int
) -> None:
    """The benchmark in miniature: it also compares every score with the same model's in process."""
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", "bert")
    write_manifest(checkpoint, model="tiny", revision=None)
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_fleet.py"), str(checkpoint)]
    command += ["--processes", "3", "--requests", "90", "--documents", "5", "--clients", "12", "--max-length", "128"]
    command += ["--retries", str(retries), "--json", str(tmp_path / "fleet.json")]

    finished = subprocess.run(command, capture_output=True, text=True, check=False)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    loss = json.loads((tmp_path / "fleet.json").read_text())["loss"]
    assert loss["failures"] == []
    assert (len(loss["before_seconds"]), len(loss["after_seconds"])) == (30, 60)
