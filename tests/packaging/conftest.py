"""Clean environments with our wheels, as strangers install them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

UNREACHABLE = ("error sending request", "Failed to fetch", "Network connectivity is disabled")


class Installed:
    """A clean environment with some of our wheels in it."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "bin"

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RERANK_"))}
        return kept | extra

    def run(
        self, program: str, *arguments: str | Path, limit: float = 120, cwd: Path | None = None, **extra: str
    ) -> tuple[int, str, str]:
        """Status, stdout and stderr of a program of this environment."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=cwd or self.programs.parent, env=self.environment(**extra), capture_output=True, text=True,
            timeout=limit, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def packages(self) -> set[str]:
        code = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
        return set(self.run("python", "-c", code)[1].split())


Uv = Callable[..., subprocess.CompletedProcess[str]]
MakeEnvironment = Callable[..., Installed]


@pytest.fixture(scope="session")
def uv(root: Path) -> Uv:
    """Runs uv, without find-links of its own: the lock is resolved without."""
    program = shutil.which("uv") or root / ".uv" / "bin" / "uv"
    environment = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "--quiet", *arguments],
            cwd=root, env=environment, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def wheels(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of our packages."""
    directory = tmp_path_factory.mktemp("wheels")
    built = uv("build", "--all-packages", "--wheel", "--out-dir", directory)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="session")
def locked(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, as constraints."""
    exported = uv("export", "--locked", "--all-packages", "--all-extras", "--no-emit-workspace", "--no-hashes")
    assert exported.returncode == 0, exported.stderr
    file = tmp_path_factory.mktemp("locked") / "constraints.txt"
    file.write_text(exported.stdout)
    return file


@pytest.fixture(scope="session")
def make_environment(uv: Uv, wheels: Path, locked: Path) -> MakeEnvironment:
    """Makes a clean environment and installs what is named, as it would come from an index."""

    def make(directory: Path, *names: str, python: str = sys.executable) -> Installed:
        made = uv("venv", directory, "--python", python)
        assert made.returncode == 0, made.stderr
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        torch = ["--find-links", links] if links else ["--torch-backend", "cpu"]
        done = uv(
            "pip", "install", "--python", directory / "bin" / "python", "--find-links", wheels,
            "--constraint", locked, *torch, *names,
        )  # fmt: skip
        if any(sign in done.stderr for sign in UNREACHABLE):
            pytest.skip("SKIPPED LOUDLY: no package index is reached, the wheels are not installed")
        assert done.returncode == 0, done.stderr
        return Installed(directory)

    return make


@pytest.fixture
def install(make_environment: MakeEnvironment, tmp_path: Path) -> MakeEnvironment:
    """Makes a clean environment of the test's own: ``install("rerank-core[torch]")``."""
    return lambda *names: make_environment(tmp_path / "environment", *names)


def find_python(uv: Uv, version: str) -> str | None:
    """The path of an interpreter of a version, such as 3.12, that uv or pyenv has; nothing is downloaded."""
    found = uv("python", "find", version, "--no-python-downloads", "--system")
    if found.returncode == 0:
        return found.stdout.strip()
    # pyenv's programs on the path refuse a version that is installed and not selected.
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    directories = [path for path in versions.glob(f"{version}.*") if re.fullmatch(r"[\d.]+", path.name)]
    programs = [path / "bin" / f"python{version}" for path in directories]
    return next((str(path) for path in programs if path.exists()), None)


@pytest.fixture(scope="session")
def interpreter(uv: Uv) -> Callable[[str], str]:
    """Finds the interpreter of a version; the test is skipped where there is none."""

    def find(version: str) -> str:
        found = find_python(uv, version)
        if found is None:
            pytest.skip(
                f"SKIPPED LOUDLY: there is no Python {version} (uv python find {version}), nothing was run on it"
            )
        return found

    return find
