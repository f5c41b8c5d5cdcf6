"""Reports for each group of files which lines and branches no test ran: run by ``make coverage``.

The groups stand in ``pyproject.toml`` under ``[[tool.rerank.coverage]]``, each with the least percent that it needs.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Group:
    """Files by their patterns, and the least percent of their lines and branches that tests must run."""

    name: str
    files: list[str]
    least: float


def groups(pyproject: str) -> list[Group]:
    """Read the groups from the text of ``pyproject.toml``."""
    return [Group(**found) for found in tomllib.loads(pyproject)["tool"]["rerank"]["coverage"]]


def report(wanted: Iterable[Group], root: Path) -> list[str]:
    """Print a report of each group, from ``.coverage`` in the folder; return the names of those that fall short."""
    short = []
    for group in wanted:
        print(f"\n{group.name}: at least {group.least} %", flush=True)
        options = [f"--include={','.join(group.files)}", f"--fail-under={group.least}"]
        if subprocess.run([sys.executable, "-m", "coverage", "report", *options], cwd=root, check=False).returncode:
            short.append(group.name)
    return short


def main() -> int:
    """Report on this repository; the exit code is 1 where a group falls short."""
    short = report(groups((ROOT / "pyproject.toml").read_text(encoding="utf-8")), ROOT)
    for name in short:
        print(f"{name} falls short: test what is listed above, or say why not (# pragma: no cover (reason))")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
