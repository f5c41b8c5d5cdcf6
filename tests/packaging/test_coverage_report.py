"""The report of `make coverage`: what falls short of its least, and what may be left out."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """\
def sign(number):
    if number < 0:  # pragma: no cover{reason}
        return -1
    return 1


sign(1)
"""


@pytest.fixture(scope="module")
def tool(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "tools" / "coverage_report.py"))


@pytest.fixture
def measured(root: Path, tmp_path: Path) -> Any:
    """Measures a program with our settings, in a folder of its own."""

    def measure(reason: str) -> Path:
        settings = (root / "pyproject.toml").read_text().replace('["rerank_core", ', '["program"] #')
        (tmp_path / "pyproject.toml").write_text(settings)
        (tmp_path / "program.py").write_text(PROGRAM.format(reason=reason))
        for command in (["run", "-m", "program"], ["combine", "--quiet"]):
            subprocess.run([sys.executable, "-m", "coverage", *command], cwd=tmp_path, timeout=60, check=True)
        return tmp_path

    return measure


def test_a_group_below_its_least_is_named_with_what_no_test_ran(
    tool: dict[str, Any], measured: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    all_of_it, half_of_it = tool["Group"]("all", ["program.py"], 100), tool["Group"]("half", ["*.py"], 50)

    assert tool["report"]([all_of_it, half_of_it], measured(reason="")) == ["all"]
    assert "program.py" in capfd.readouterr().out


@pytest.mark.parametrize(("reason", "short"), [(" (no number is negative)", []), ("", ["all"])])
def test_lines_are_left_out_where_a_reason_is_given(
    tool: dict[str, Any], measured: Any, reason: str, short: list[str]
) -> None:
    assert tool["report"]([tool["Group"]("all", ["program.py"], 100)], measured(reason)) == short


def test_what_a_process_of_the_tests_has_run_counts_though_it_is_killed_at_its_end(
    root: Path, tool: dict[str, Any], tmp_path: Path
) -> None:
    """pytest-xdist kills one that takes long to end, before it would have written what it measured."""
    settings = (root / "pyproject.toml").read_text().replace('["rerank_core", ', '["program"] #')
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / "conftest.py").write_text((root / "conftest.py").read_text())
    (tmp_path / "program.py").write_text("def run():\n    return 1\n")
    test = tmp_path / "tests" / "wire" / "test_program.py"
    test.parent.mkdir(parents=True)
    test.write_text(
        "import atexit, os, signal, program\n"
        "def test_it():\n"
        "    atexit.register(os.kill, os.getpid(), signal.SIGKILL)\n"
        "    assert program.run() == 1\n"
    )

    for command in (["run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "1"], ["combine", "--quiet"]):
        subprocess.run([sys.executable, "-m", "coverage", *command], cwd=tmp_path, timeout=100, check=True)

    assert tool["report"]([tool["Group"]("all", ["program.py"], 100)], tmp_path) == []


def test_each_package_is_a_group_and_each_pattern_finds_files(root: Path, tool: dict[str, Any]) -> None:
    groups = tool["groups"]((root / "pyproject.toml").read_text())

    assert {package.name for package in (root / "packages").iterdir()} <= {group.name for group in groups}
    for group in groups:
        assert group.least > 50
        assert [pattern for pattern in group.files if not list(root.glob(pattern))] == []
