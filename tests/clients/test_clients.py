"""The cheap part of `make test-clients`: no environment but ours, no network."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_replayed_programs_are_served_and_what_cannot_be_installed_is_said(tmp_path: Path) -> None:
    page = tmp_path / "clients.md"
    nowhere = {"UV": str(tmp_path / "no-uv"), "CLIENTS_ENVIRONMENTS": str(tmp_path / "environments")}

    ended = run("--only", "replays", "--only", "xinference", "--table", str(page), **nowhere)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "13 as expected, 0 failed, 2 not run" in ended.stdout
    assert ended.stdout.count("SKIPPED LOUDLY: Xinference client") == 2
    rows = page.read_text(encoding="utf-8").splitlines()
    assert len([row for row in rows if "| not run (not installed: " in row]) == 2
    assert len([row for row in rows if "| replay of " in row and "| as expected: ranking, " in row]) == 12
    assert len([row for row in rows if row.startswith("| Xinference client")]) == 4


def test_the_page_of_clients_has_each_of_them_in_its_version(root: Path) -> None:
    listed = run("--list").stdout.splitlines()

    page = (root / "docs" / "clients.md").read_text(encoding="utf-8").splitlines()

    assert len(listed) > 40
    assert [row for row in listed if not any(line.startswith(row) for line in page)] == [], "run `make test-clients`"
