"""
Install packages of `uv.lock` into an environment, with the build of torch that fits the machine.

On Linux the lock's torch is built for CUDA, about 3 GB with its libraries. Without an NVIDIA GPU a CPU build of the
same version is installed instead: from a folder of wheels that uv or pip is configured with, else from PyTorch's index.
The Makefile and the Dockerfile run this before there is an environment, so it needs Python's standard library only.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lock_file import Lock, Platform
from programs import InstallError, output_of, run_uv, uv_environment
from progress import PACKAGE_LINE, megabytes
from torch_build import PROBE_LIMIT, Choice, MachineProbes, choose
from wheel_folders import pip_files, wheel_folders


@dataclass(frozen=True, slots=True)
class Plan:
    """A choice of torch and the packages that are missing."""

    choice: Choice
    sync: tuple[str, ...]  # options of `uv sync`
    missing: int  # packages, torch included
    size: int  # bytes, torch included

    def announcement(self, purpose: str, environment: str, version: str) -> str:
        """One line about what will happen: what, how much, from where, and where it stays."""
        torch = f"torch {version}"
        if self.choice.replaces_locked_torch:
            torch += f" for CPUs ({megabytes(self.choice.size)}) from {self.choice.origin}"
        else:
            torch += " as in uv.lock"
        if not self.missing:
            return f"{purpose} is in {environment} already, with {torch} ({self.choice.reason})."
        said = (
            f"Installing {purpose} into {environment}, where it is kept: {self.missing} packages, about "
            f"{megabytes(self.size)} less what is cached, from PyPI, with {torch} ({self.choice.reason})."
        )
        if self.choice.is_last_resort:
            said += " To have the smaller CPU build, stop now and name a folder with its wheel: UV_FIND_LINKS=FOLDER."
        return said


def make_plan(
    choice: Choice, lock: Lock, platform: Platform, sync: Sequence[str], dry_run: str, torch: str | None
) -> Plan:
    """Add up what a dry run of `uv sync` would install, by what it wrote; `torch` is the version that is installed."""
    found = [PACKAGE_LINE.match(line) for line in dry_run.splitlines() if line.startswith((" +", " ~"))]
    packages = [(match["name"], match["version"] or "") for match in found if match]
    size = sum(lock.size(name, version, platform) for name, version in packages)
    if choice.replaces_locked_torch and choice.requirement != f"torch=={torch}":
        return Plan(choice, tuple(sync), len(packages) + 1, size + choice.size)
    return Plan(choice, tuple(sync), len(packages), size)


def install(arguments: argparse.Namespace) -> str:
    """Choose, announce and install; return the build that was installed. Raises `InstallError`."""
    began = time.monotonic()
    uv: str = arguments.uv
    environment = os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv")
    lock = Lock(Path("uv.lock").read_text(encoding="utf-8"))
    python = _python_of(uv)
    platform = Platform(sys.platform, os.uname().machine if hasattr(os, "uname") else "amd64", _version_of(python))
    folders = arguments.find_links or wheel_folders(os.environ, pip_files(os.environ, sys.platform, Path.home()))

    choice = choose(arguments.torch, lock.torch_version, platform, MachineProbes(uv, python, folders))
    left_out = lock.cuda_packages if choice.replaces_locked_torch else []
    sync = ["sync", "--locked", *arguments.sync, *(f"--no-install-package={name}" for name in left_out)]
    target = str(Path(environment) / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    plan = make_plan(choice, lock, platform, sync, _dry_run(uv, sync), _torch_of(target))
    print(plan.announcement(arguments.purpose, environment, lock.torch_version), flush=True)

    run_uv(uv, *plan.sync)
    if choice.replaces_locked_torch:
        run_uv(uv, "pip", "install", "--python", target, "--no-deps", choice.requirement, *choice.options)
    if plan.missing:
        print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return choice.build


def _python_of(uv: str) -> str:
    """The interpreter that uv uses for the project."""
    found = output_of([uv, "python", "find"], limit=PROBE_LIMIT)
    if not found:
        raise InstallError("uv found no Python 3.11 or newer: install one, or let uv do it (uv python install 3.12)")
    return found.strip()


def _version_of(python: str) -> str:
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    return (output_of([python, "-c", code], limit=PROBE_LIMIT) or "3.11").strip()


def _torch_of(python: str) -> str | None:
    """The version of torch in the environment of an interpreter; None where there is neither."""
    found = output_of([python, "-c", "import importlib.metadata as m; print(m.version('torch'))"], limit=PROBE_LIMIT)
    return found.strip() if found else None


def _dry_run(uv: str, sync: Sequence[str]) -> str:
    """What uv says that a sync would install; nothing where it cannot say, for then the sync itself tells why."""
    done = subprocess.run([uv, *sync, "--dry-run"], env=uv_environment(), capture_output=True, text=True, check=False)
    return done.stderr if done.returncode == 0 else ""


def remember(mark: str, build: str) -> None:
    """Leave a file `.venv/MARK-BUILD` instead of the marks of earlier installations."""
    directory = Path(".venv")
    for old in [*directory.glob("setup-*"), *directory.glob("demo-*")]:
        old.unlink()
    (directory / f"{mark}-{build}").touch()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--torch", choices=["auto", "cpu", "locked", "cuda"], default="auto", help="the build of torch")
    parser.add_argument("--uv", default="uv", help="the program uv")
    parser.add_argument("--find-links", action="append", metavar="FOLDER", help="a folder or page of wheels for a CPU")
    parser.add_argument("--purpose", default="the packages", help="what is installed, for the first line")
    parser.add_argument("--mark", choices=["setup", "demo"], help="remember in .venv what was installed")
    parser.add_argument("sync", nargs="*", metavar="-- OPTIONS", help="options of `uv sync`: what to install")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Install, and say in one sentence what to do where that fails."""
    parsed = parse(arguments)
    try:
        build = install(parsed)
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"install: {error}: run this in the repository, with uv installed or named by --uv", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("install: interrupted; run the same again to go on, what was downloaded is kept", file=sys.stderr)
        return 130
    if parsed.mark:
        remember(parsed.mark, build if parsed.torch == "auto" else parsed.torch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
