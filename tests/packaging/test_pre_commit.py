"""The hooks before a commit: they run what is installed, and find what they are for."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGURATION = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
HOOKS: dict[str, Any] = {hook["id"]: hook for repository in CONFIGURATION["repos"] for hook in repository["hooks"]}

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv").is_dir(), reason="SKIPPED LOUDLY: there is no .venv, the hooks were not run"
)


def run(hook: str, *files: Path) -> tuple[int, str]:
    command = shlex.split(HOOKS[hook]["entry"])
    if HOOKS[hook].get("pass_filenames", True):
        command += map(str, files)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_no_hook_is_downloaded() -> None:
    assert {repository["repo"] for repository in CONFIGURATION["repos"]} == {"local"}
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_takes_what_is_committed(hook: str) -> None:
    code, said = run(hook, ROOT / "conftest.py")

    assert code == 0, said


@pytest.mark.parametrize(("hook", "text"), [("ruff-check", "import os\n"), ("ruff-format", "x = [1,2]\n")])
def test_a_hook_refuses_what_is_wrong(hook: str, text: str, tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "wrong.py").write_text(text)

    code, said = run(hook, tmp_path / "wrong.py")

    assert code == 1
    assert "wrong.py" in said
