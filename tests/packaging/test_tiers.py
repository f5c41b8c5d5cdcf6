"""Tiers of tests: each test file has one, and `make` runs each tier by its name."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Path:
    """A repository with our tiers and settings, and one test in each of some places."""
    for name in ("conftest.py", "pyproject.toml"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    for place in ("tests/wire/a", "tests/e2e/b", "tests/e2e/roads", "tests/deploy/c", "tests/hub/d"):
        file = tmp_path / Path(place).parent / f"test_{Path(place).name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"def test_{file.parent.name}_{file.stem}(): pass\n")
    return tmp_path


def collected(repository: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Status of a collection, the names of the tests, and all that was written."""
    # Only the plugins that our settings speak of: others take seconds to import.
    plugins = [
        part for name in ("no:cacheprovider", "pytest_asyncio.plugin", "pytest_timeout") for part in ("-p", name)
    ]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", *plugins, *arguments]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    names = [line.partition(":")[0] for line in done.stdout.splitlines() if line.startswith("tests/")]
    return done.returncode, names, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("tier", "files"),
    [
        ("everyday", ["tests/e2e/test_roads.py", "tests/wire/test_a.py"]),
        ("full", ["tests/e2e/test_b.py"]),
        ("release", ["tests/deploy/test_c.py"]),
        ("hub", ["tests/hub/test_d.py"]),
    ],
)
def test_a_tier_has_the_files_of_its_folders_and_no_others(repository: Path, tier: str, files: list[str]) -> None:
    _, names, said = collected(repository, "-m", tier)

    assert sorted(names) == files, said


def test_without_a_tier_every_file_is_run_that_needs_no_hub(repository: Path) -> None:
    _, names, said = collected(repository)

    assert len(names) == 4, said
    assert "tests/hub/test_d.py" not in names


@pytest.mark.parametrize("arguments", [(), ("-m", "everyday")])
def test_a_folder_without_a_tier_is_refused(repository: Path, arguments: tuple[str, ...]) -> None:
    """No test may be left out of every command without a word."""
    (repository / "tests" / "new").mkdir()
    (repository / "tests" / "new" / "test_new.py").write_text("def test_new(): pass\n")

    code, _, said = collected(repository, *arguments)

    assert code != 0
    assert "tests/new/test_new.py has no tier" in said


def test_the_table_names_what_exists(root: Path) -> None:
    """A file that was moved would fall back to its folder's tier without a word."""
    found = runpy.run_path(str(root / "conftest.py"))

    assert [path for path in {**found["TIERS"], **found["GROUPS"]} if not (root / path).exists()] == []


def test_a_process_runs_whole_files_and_files_of_a_group_after_each_other(repository: Path) -> None:
    lines = (
        (repository / "conftest.py")
        .read_text()
        .replace("GROUPS = {", 'GROUPS = dict.fromkeys(["tests/wire/test_a.py", "tests/e2e/test_b.py"], "both") | {')
    )
    (repository / "conftest.py").write_text(lines)
    for file in repository.glob("tests/*/test_*.py"):
        names = "\n".join(f"def test_{n}(): (pathlib.Path({str(file)!r} + worker)).touch()" for n in range(3))
        file.write_text(f"import os, pathlib\nworker = os.environ['PYTEST_XDIST_WORKER']\n{names}\n")

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=100, check=False)
    workers = {
        file.name: {made.name.removeprefix(file.name) for made in file.parent.glob(f"{file.name}gw*")}
        for file in repository.glob("tests/*/test_*.py")
    }

    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: len(found) for name, found in workers.items() if name != "test_d.py"} == dict.fromkeys(
        ("test_a.py", "test_b.py", "test_c.py", "test_roads.py"), 1
    )
    assert workers["test_a.py"] == workers["test_b.py"]


def test_make_runs_each_tier_behind_the_smaller_ones(root: Path) -> None:
    commands = (root / "Makefile").read_text()

    for target, before, tier in [
        ("test", "$(SETUP)", "everyday"),
        ("test-all", "test test-avx2", "full"),
        ("test-release", "test-all", "release"),
    ]:
        assert f"\n{target}: {before} ## " in commands
        assert f"$(PYTEST) -m {tier}" in commands
