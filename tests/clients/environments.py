"""Throw-away environments, made by uv once for what they should hold: the clients' pins contradict each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from listed import Group

_ENVIRONMENTS = Path(os.environ.get("CLIENTS_ENVIRONMENTS") or Path(__file__).parent / ".environments")
_ROOT = Path(__file__).parent.parent.parent
_LIMIT = 600.0  # seconds; a cold cache on a slow line


class NotInstalled(Exception):
    """An environment could not be made: the message says why, in one line; ``told`` is all that uv said."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told


def interpreter(group: Group) -> str:
    """The Python that has a group's clients. Raises ``NotInstalled``."""
    if not group.requirements:
        return sys.executable
    environment = _ENVIRONMENTS / group.name
    python = environment / "bin" / "python"
    ready, wanted = environment / "ready", "\n".join((sys.version, *group.requirements))
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return str(python)
    uv = _uv()
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
    _run(uv, "pip", "install", "--quiet", "--python", str(python), *group.requirements)
    ready.write_text(wanted, encoding="utf-8")
    return str(python)


def _uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv") or shutil.which("uv", path=str(_ROOT / ".uv" / "bin"))
    if found is None:
        raise NotInstalled("not installed: there is no uv, which `make setup` brings")
    return found


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"not installed: uv: {type(error).__name__}", str(error)) from error
    if done.returncode != 0:
        said = [line.strip().removeprefix("error: ") for line in done.stderr.splitlines() if line.strip()]
        first = re.sub(r"\S*://\S*", "...", said[0]) if said else f"uv ended with {done.returncode}"
        raise NotInstalled(f"not installed: {first}", done.stderr)
