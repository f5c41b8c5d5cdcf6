"""Run other programs: short questions within a time limit, and uv with its progress shown."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from progress import Progress


class InstallError(Exception):
    """The environment could not be made; the message says what to do."""


def uv_environment() -> dict[str, str]:
    """The environment without find-links: uv.lock is resolved without, and a sync with some calls it out of date."""
    return {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}


def output_of(
    command: Sequence[str], *, limit: float, given: str = "", environment: Mapping[str, str] | None = None
) -> str | None:
    """What a program writes, or None where it is absent, fails or takes longer than the limit in seconds."""
    try:
        done = subprocess.run(
            command, input=given, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def _ticking(progress: Progress, out: threading.Lock) -> Iterator[None]:
    """Rewrite a status line each second while the block runs, on a terminal only."""
    if not sys.stdout.isatty():
        yield
        return
    began, ended = time.monotonic(), threading.Event()

    def tick() -> None:
        while not ended.wait(1):
            with out:
                print(f"\r\033[K{progress.status(time.monotonic() - began)[:79]}", end="", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        ended.set()
        ticker.join()
        print("\r\033[K", end="", flush=True)


def run_uv(uv: str, *arguments: str) -> None:
    """Run uv and show its progress without the list of packages. Raises `InstallError` where it fails."""
    progress, out = Progress(), threading.Lock()
    with (
        subprocess.Popen(
            [uv, *arguments], env=uv_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process,
        _ticking(progress, out),
    ):
        assert process.stderr is not None  # noqa: S101 (it is a pipe)
        for line in process.stderr:
            if progress.shows(line):
                with out:
                    print(f"\r\033[K  {line.rstrip()}" if sys.stdout.isatty() else f"  {line.rstrip()}", flush=True)
    if process.returncode != 0:
        raise InstallError(
            f"uv ended with status {process.returncode}, its own words are above: where a host was not reached, check "
            "the network and the proxy (HTTPS_PROXY), and run the same again; what was downloaded is kept"
        )
