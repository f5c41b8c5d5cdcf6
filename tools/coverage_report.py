"""Reports for each package which lines and branches no test ran, and fails below its least: run by ``make coverage``.

The least percents stand in ``pyproject.toml`` under ``[tool.rerank.coverage]``, by a pattern of files.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def least(pyproject: str) -> dict[str, float]:
    """Read the least percent of each pattern from the text of ``pyproject.toml``."""
    found: dict[str, float] = tomllib.loads(pyproject)["tool"]["rerank"]["coverage"]
    return found


def report(percents: Mapping[str, float], root: Path) -> list[str]:
    """Print a report for each pattern, from ``.coverage`` in the folder; return the patterns that fall short."""
    short = []
    for pattern, percent in percents.items():
        print(f"\n{pattern}: at least {percent} %", flush=True)
        command = [sys.executable, "-m", "coverage", "report", f"--include={pattern}", f"--fail-under={percent}"]
        if subprocess.run(command, cwd=root, check=False).returncode != 0:
            short.append(pattern)
    return short


def main() -> int:
    """Report on this repository; the exit code is 1 where a package falls short."""
    short = report(least((ROOT / "pyproject.toml").read_text(encoding="utf-8")), ROOT)
    for pattern in short:
        print(f"{pattern} falls short: test what is listed above, or say why not (# pragma: no cover (reason))")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
