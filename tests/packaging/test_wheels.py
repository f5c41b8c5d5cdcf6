"""The wheels, as strangers install them: each package with what it needs, alone and beside the others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

Environment = Callable[..., "Installed"]
UNREACHABLE = ("error sending request", "Failed to fetch", "Network connectivity is disabled")


class Installed:
    """A clean environment with some of our wheels in it."""

    def __init__(self, directory: Path) -> None:
        self.programs = directory / "bin"

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RERANK_"))}
        return kept | extra

    def run(self, program: str, *arguments: str, **extra: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.programs.parent, env=self.environment(**extra), capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def packages(self) -> set[str]:
        code = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
        return set(self.run("python", "-c", code)[1].split())


def uv(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("uv") or root / ".uv" / "bin" / "uv"
    environment = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
    return subprocess.run(
        [program, "--quiet", *arguments],
        cwd=root, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    built = uv(root, "build", "--all-packages", "--wheel", "--out-dir", directory)
    assert built.returncode == 0, built.stderr
    return directory


@pytest.fixture(scope="module")
def locked(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, as constraints."""
    exported = uv(
        root, "export", "--locked", "--all-packages", "--all-extras", "--no-dev", "--no-emit-workspace", "--no-hashes"
    )
    assert exported.returncode == 0, exported.stderr
    file = tmp_path_factory.mktemp("locked") / "constraints.txt"
    file.write_text(exported.stdout)
    return file


@pytest.fixture
def install(root: Path, wheels: Path, locked: Path, tmp_path: Path) -> Environment:
    """Makes a clean environment and installs what is named, as it would come from an index."""

    def make(*names: str) -> Installed:
        directory = tmp_path / "environment"
        uv(root, "venv", directory, "--python", sys.executable)
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        torch = ["--find-links", links] if links else ["--torch-backend", "cpu"]
        done = uv(
            root, "pip", "install", "--python", directory / "bin" / "python", "--find-links", wheels,
            "--constraint", locked, *torch, *names,
        )  # fmt: skip
        if any(sign in done.stderr for sign in UNREACHABLE):
            pytest.skip("SKIPPED LOUDLY: no package index is reached, the wheels are not installed")
        assert done.returncode == 0, done.stderr
        return Installed(directory)

    return make


def test_core_alone_says_what_it_lacks(install: Environment) -> None:
    core = install("rerank-core")

    assert core.packages() == {"rerank-core"}
    assert core.run("rerank", "rank", "--help")[0] == 0
    code, _, said = core.run("rerank", "info", "lite")
    assert code == 1
    assert "pip install 'rerank-core[torch]'" in said


def test_the_server_without_torch_says_what_it_lacks(install: Environment) -> None:
    server = install("rerank-server")

    assert {"rerank-core", "rerank-server"} <= server.packages()
    assert "rerank-integrations" not in server.packages()
    assert server.run("rerank", "serve", "--help")[0] == 0
    code, _, said = server.run("rerank-server", "--check", MODEL_NAME="somebody/reranker")
    assert code == 1
    assert "[torch]" in said


def test_the_client_needs_neither_torch_nor_a_framework_nor_the_server(install: Environment) -> None:
    integrations = install("rerank-integrations")

    assert integrations.packages().isdisjoint({"torch", "langchain-core", "llama-index-core", "rerank-server"})
    code = (
        "from rerank_core import RerankError\n"
        "from rerank_integrations.client import HTTPScorer\n"
        "try: HTTPScorer('http://127.0.0.1:9').score('a', ['b'])\n"
        "except RerankError as error: print(error)\n"
    )
    assert "127.0.0.1:9" in integrations.run("python", "-c", code)[1]


def test_server_and_client_score_alike_with_nothing_else_installed(
    install: Environment, serving: Callable[..., AbstractContextManager[Any]], tiny: Path
) -> None:
    together = install("rerank-server[torch]", "rerank-integrations")
    score = ".score('panda', ['a bear']).values"

    in_process = together.run("python", "-c", f"import rerank_core; print(rerank_core.load('{tiny}'){score})")
    with serving(tiny, command=(together.programs / "rerank-server",)) as server:
        client = "from rerank_integrations.client import HTTPScorer"
        over_http = together.run("python", "-c", f"{client}; print(HTTPScorer('{server.url}'){score})")

    assert in_process == over_http
    assert in_process[0] == 0


@pytest.mark.parametrize(
    ("extra", "module"),
    [("langchain", "rerank_integrations.langchain"), ("llama-index", "rerank_integrations.llama_index")],
)
def test_an_adapter_needs_only_its_framework(install: Environment, extra: str, module: str) -> None:
    adapter = install(f"rerank-integrations[{extra}]")

    assert adapter.run("python", "-c", f"import {module}")[0] == 0
    assert "torch" not in adapter.packages()
