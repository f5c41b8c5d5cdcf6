"""``make test-client``: every endpoint of a running service, a line each."""

import subprocess
import sys
from pathlib import Path
from typing import Any


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "examples" / "service_client" / "service_client.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_sound_service_answers_everywhere(root: Path, tiny_server: Any) -> None:
    tried = run(root, "--url", tiny_server.url)

    assert tried.returncode == 0, tried.stdout
    lines = [line.split() for line in tried.stdout.splitlines() if line.startswith("ok")]
    assert {"/", "/health", "/livez", "/readyz", "/rerank", "/rerank/batch", "/v1/rerank", "/metrics"} <= {
        line[5] for line in lines
    }


def test_where_nobody_answers_it_says_what_to_do(root: Path) -> None:
    tried = run(root, "--url", "http://127.0.0.1:1")

    assert tried.returncode == 1
    assert "make run" in tried.stdout + tried.stderr
