"""What `make` would run, by what was installed before."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="SKIPPED LOUDLY: there is no make")


# Else a make that runs the tests changes what the make in a test prints.
OUTSIDE_OF_MAKE = {"PATH": "/usr/bin:/bin"}


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
        cwd=repository, env=OUTSIDE_OF_MAKE, capture_output=True, text=True, timeout=60, check=False,
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


def test_help_lists_every_target_below_a_heading(repository: Path) -> None:
    done = subprocess.run(
        ["make", "help"], cwd=repository, env=OUTSIDE_OF_MAKE, capture_output=True, text=True, timeout=60, check=True
    )
    targets = re.findall(r"^\.PHONY: (\S+)$", (repository / "Makefile").read_text(), re.MULTILINE)

    first, *groups = done.stdout.split("\n\n")

    assert first == "make TARGET [TORCH=cpu]"
    listed = [line.split()[0] for group in groups for line in group.splitlines()[1:]]
    assert sorted(listed) == sorted(targets)
    assert all(re.match(r"To .*:\n  ", group) for group in groups)
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


@pytest.fixture
def compose(repository: Path, tmp_path: Path) -> Callable[..., tuple[dict[str, str], str]]:
    """Runs a target with a program in place of Docker's compose: its environment, and what make said."""
    program = tmp_path / "compose"
    program.write_text("#!/bin/sh\nenv >> environment\n")
    program.chmod(0o755)

    def run(*arguments: str, **environment: str) -> tuple[dict[str, str], str]:
        (tmp_path / "environment").unlink(missing_ok=True)
        done = subprocess.run(
            ["make", *arguments, f"COMPOSE={program}"],
            cwd=repository, env=OUTSIDE_OF_MAKE | environment, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        lines = (tmp_path / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line), done.stdout

    return run


def test_settings_reach_the_command_that_starts_the_container(compose: Callable[..., Any]) -> None:
    assert compose("run", RERANK_TIMEOUT="60")[0]["RERANK_TIMEOUT"] == "60"
    assert compose("run", "RERANK_TIMEOUT=70")[0]["RERANK_TIMEOUT"] == "70"


def test_the_address_is_said(compose: Callable[..., Any]) -> None:
    environment, said = compose("run")

    assert (environment["RERANKER_NAME"], environment["PORT"]) == ("baai-reranker-service", "8000")
    assert "baai-reranker-service is at http://localhost:8000, and loads its model first: make logs shows" in said
    assert (
        "at http://localhost:9000, and loads its model first: make logs PORT=9000 shows"
        in compose("run", PORT="9000")[1]
    )


def test_a_second_container_has_a_name_a_port_and_a_project_of_its_own(compose: Callable[..., Any]) -> None:
    first, _ = compose("run")
    second, said = compose("run", "INSTANCE=2")

    assert "COMPOSE_PROJECT_NAME" not in first
    assert (second["RERANKER_NAME"], second["PORT"]) == ("baai-reranker-service-2", "8001")
    assert second["COMPOSE_PROJECT_NAME"] == "rerank-2"
    assert "make logs INSTANCE=2 shows" in said
    assert compose("stop", INSTANCE="2")[0]["COMPOSE_PROJECT_NAME"] == "rerank-2"
    assert compose("run", INSTANCE="1")[0]["RERANKER_NAME"] == "baai-reranker-service"


@pytest.mark.parametrize(
    ("api", "is_added"), [("1.41", False), ("1.43", False), ("1.44", True), ("1.52", True), ("2.0", True), ("", False)]
)
def test_an_engine_that_can_is_to_ask_every_second_until_it_is_ready(
    repository: Path, tmp_path: Path, api: str, is_added: bool
) -> None:
    """A file more for compose: older engines refuse it."""
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        f'case "$1 $2" in "compose up") echo "FILES $COMPOSE_FILE" ;; "version --format") echo {api} ;; esac\n'
    )
    docker.chmod(0o755)

    done = subprocess.run(
        ["make", "run"],
        cwd=repository, env={"PATH": f"{docker.parent}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip

    assert done.stdout.count("FILES deploy/docker-compose.yml") == 1
    assert ("FILES deploy/docker-compose.yml:deploy/docker-compose.start.yml\n" in done.stdout) is is_added


def test_an_instance_that_is_no_number_is_refused(repository: Path) -> None:
    assert "INSTANCE is two: use a number, such as INSTANCE=2" in would_run(repository, "run", "INSTANCE=two")
