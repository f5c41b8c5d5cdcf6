"""What `make` would run, by what was installed before."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="SKIPPED LOUDLY: there is no make")


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    """The Makefile and the manifests, with a uv that is not run, and nothing installed."""
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copyfile(root / name, tmp_path / name)
    (tmp_path / ".uv" / "bin").mkdir(parents=True)
    (tmp_path / ".uv" / "bin" / "uv").touch()
    (tmp_path / ".venv").mkdir()
    return tmp_path


def would_run(repository: Path, *arguments: str) -> str:
    """The commands of `make`, not run."""
    done = subprocess.run(
        ["make", "--dry-run", *arguments],
        cwd=repository, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_the_first_demo_installs_what_it_needs_and_chooses_the_build(repository: Path) -> None:
    said = would_run(repository, "demo")

    assert "--torch auto --mark demo" in said
    assert "--all-packages" not in said


def test_a_test_after_the_demo_installs_the_rest_with_the_same_build(repository: Path) -> None:
    (repository / ".venv" / "demo-cpu").touch()

    assert "install.py" not in would_run(repository, "demo")
    assert "--torch cpu --mark setup" in would_run(repository, "test")


def test_a_demo_where_everything_is_installed_takes_nothing_away(repository: Path) -> None:
    (repository / ".venv" / "setup-locked").touch()

    assert "install.py" not in would_run(repository, "demo")
    assert "--torch cpu --mark setup" in would_run(repository, "demo", "TORCH=cpu")


def test_another_build_is_installed_where_it_is_named_and_auto_chooses_again(repository: Path) -> None:
    (repository / ".venv" / "setup-locked").touch()

    assert "install.py" not in would_run(repository, "test")
    assert "--torch cpu --mark setup" in would_run(repository, "test", "TORCH=cpu")
    assert "--torch auto --mark setup" in would_run(repository, "test", "TORCH=auto")


def test_a_build_that_does_not_exist_is_refused_with_those_that_do(repository: Path) -> None:
    said = would_run(repository, "test", "TORCH=rocm")

    assert "TORCH is rocm" in said
    assert all(f"TORCH={build}" in said for build in ("auto", "cpu", "locked", "cuda"))
