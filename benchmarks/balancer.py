"""HAProxy before several servers, as ``deploy/haproxy/haproxy.cfg`` has it, with our own addresses put in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server import HOST, Server, free_port, stop, wait_until_ready

_CONFIGURATION = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"


@contextmanager
def balancing(servers: Sequence[Server], folder: Path) -> Iterator[Server]:
    """A HAProxy before these, until the block ends. ``folder``: for its files.

    Raises ``RuntimeError`` where there is none, or it does not answer for them.
    """
    program = shutil.which("haproxy")
    if program is None:
        raise RuntimeError("there is no haproxy here: install it to measure behind a balancer")
    port, file, log = free_port(), folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(_configuration(servers, port))
    with log.open("w") as output:
        process = subprocess.Popen([program, "-f", str(file)], stdout=output, stderr=output)
    try:
        wait_until_ready(port, process, log)
        yield Server(port, process.pid)
    finally:
        stop(process)


def _configuration(servers: Sequence[Server], port: int) -> str:
    lines = [line for line in _CONFIGURATION.read_text().splitlines() if not line.startswith("    server ")]
    lines = [f"    bind {HOST}:{port}" if line.startswith("    bind ") else line for line in lines]
    return "\n".join([*lines, *(f"    server rerank-{one.port} {HOST}:{one.port}" for one in servers), ""])
