"""Throw-away environments, made once for what they should hold: the clients' pins contradict each other.

Those of Python are made by uv, those of JavaScript by npm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from listed import Group

_ENVIRONMENTS = Path(os.environ.get("CLIENTS_ENVIRONMENTS") or Path(__file__).parent / ".environments")
_ROOT = Path(__file__).parent.parent.parent
_SCRIPTS = Path(__file__).parent / "groups" / "npm"
_LIMIT = 600.0  # seconds; a cold cache on a slow line


class NotInstalled(Exception):
    """An environment could not be made: the message says why, in one line; ``told`` is all that the installer said."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told


def folder_of(name: str) -> Path:
    """The folder of an environment."""
    return _ENVIRONMENTS / name


def interpreter(group: Group) -> str:
    """The Python that runs a group's script. Raises ``NotInstalled``.

    Clients of npm, and the scripts that call them, are in the group's folder then.
    """
    if group.packages:
        folder = install_packages(group.name, group.packages)
        for script in _SCRIPTS.iterdir():  # node looks for packages beside the file that imports them
            shutil.copy(script, folder)
    return install_requirements(group.name, group.requirements) if group.requirements else sys.executable


def install_requirements(name: str, requirements: Sequence[str]) -> str:
    """The Python of an environment that has these distributions. Raises ``NotInstalled``."""
    environment = folder_of(name)
    python = environment / "bin" / "python"
    wanted = "\n".join((sys.version, *requirements))
    if not _has(environment, wanted):
        uv = _uv()
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
        _run(uv, "pip", "install", "--quiet", "--python", str(python), *requirements)
        _mark(environment, wanted)
    return str(python)


def install_packages(name: str, packages: Sequence[str]) -> Path:
    """A folder that has these packages of npm, in ``node_modules``. Raises ``NotInstalled``."""
    environment, npm, node = folder_of(name), shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NotInstalled("not installed: there is no npm, which comes with Node.js")
    wanted = "\n".join((_run(node, "--version"), *packages))
    if not _has(environment, wanted):
        shutil.rmtree(environment, ignore_errors=True)
        environment.mkdir(parents=True)
        _run(npm, "install", "--prefix", str(environment), "--no-audit", "--no-fund", "--ignore-scripts", *packages)
        _mark(environment, wanted)
    return environment


def _has(environment: Path, wanted: str) -> bool:
    ready = environment / "ready"
    return ready.exists() and ready.read_text(encoding="utf-8") == wanted


def _mark(environment: Path, has: str) -> None:
    (environment / "ready").write_text(has, encoding="utf-8")


def _uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(_ROOT / ".uv" / "bin"))
    if found is None:
        raise NotInstalled("not installed: there is no uv, which `make setup` brings")
    return found


def _run(*command: str) -> str:
    """What a program writes. Raises ``NotInstalled`` where it fails."""
    program = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"not installed: {program}: {type(error).__name__}", str(error)) from error
    if done.returncode != 0:
        said = [line.strip().removeprefix("error: ") for line in done.stderr.splitlines() if line.strip()]
        first = re.sub(r"\S*://\S*", "...", said[0]) if said else f"{program} ended with {done.returncode}"
        raise NotInstalled(f"not installed: {first}", done.stderr)
    return done.stdout
