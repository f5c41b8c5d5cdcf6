"""What an image weighs, how soon it is ready, and whether its limits are enough. See README.md beside this.

Needs a Docker engine; the image is one that `make build` made.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from machine import describe
from markdown_tables import table
from pairs import Vocabulary
from results import settings_of, write_results

HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
HOST = "127.0.0.1"
START_LIMIT = 300.0  # seconds
ANSWER_LIMIT = 1800.0
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
STATUS = "print(open('/proc/1/status').read())"


@dataclass(frozen=True, slots=True)
class Start:
    """One container: seconds from `docker run` to ready, and of the batch; bytes of its process after that."""

    ready: float
    batch: float
    anonymous: float
    peak: float


def main() -> None:
    """Measure an image, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="as `docker images` names it")
    parser.add_argument("checkpoint", type=Path, help="the directory of its model, for texts of known token counts")
    parser.add_argument("--docker", default="docker", help="the program (default: %(default)s)")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--memory", default="4g")
    parser.add_argument("--pairs", type=int, default=100, help="of the mixed batch (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures here too")
    given = parser.parse_args()
    body = batch(given.checkpoint, given.pairs)
    layers = sizes(given.docker, given.image)
    starts = []
    for number in range(given.rounds):
        starts.append(start(given, body))
        print(f"round {number + 1}: ready in {starts[-1].ready:.1f} s", file=sys.stderr, flush=True)
    print(report(given, layers, starts))
    if given.json:
        figures = {"layers": layers, "starts": [asdict(each) for each in starts]}
        write_results(given.json, describe(), settings_of(given), **figures)


def batch(checkpoint: Path, count: int) -> bytes:
    """A request of so many mixed pairs, all distinct."""
    mixed = Vocabulary(checkpoint).mixed(count, 512)
    pairs = [{"query": mixed.query, "passage": document} for document in mixed.documents]
    return json.dumps({"pairs": pairs}).encode()


def sizes(docker: str, image: str) -> list[tuple[str, float]]:
    """What made each layer that is not empty, and its bytes, the base's first."""
    said = run(docker, "history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    layers = []
    for line in reversed(said.splitlines()):
        size, _, command = line.partition("\t")
        found = re.fullmatch(r"([\d.]+)([kMG]?B)", size)
        if found and float(found[1]) > 0:
            layers.append((command[:60].replace("|", " "), float(found[1]) * UNITS[found[2]]))
    return layers


def start(given: argparse.Namespace, body: bytes) -> Start:
    """Start a hardened container, wait, send it the batch, and take it away."""
    limits = ["--cpus", given.cpus, "--memory", given.memory, "--memory-swap", given.memory, "--network", "host"]
    begin = time.perf_counter()
    with container(given.docker, *HARDENED, *limits, "-e", f"PORT={given.port}", given.image) as name:
        wait_until_ready(given, name)
        ready = time.perf_counter() - begin
        begin = time.perf_counter()
        status, text = ask(given.port, "POST", "/rerank/batch", body)
        seconds = time.perf_counter() - begin
        if status != 200:
            raise RuntimeError(f"the batch was answered {status}: {text[:200]!r}")
        memory = run(given.docker, "exec", name, "python", "-c", STATUS)
        return Start(ready, seconds, kilobytes(memory, "RssAnon") * 1024, kilobytes(memory, "VmHWM") * 1024)


@contextmanager
def container(docker: str, *arguments: str) -> Iterator[str]:
    """Runs in the background until the block ends; gives its name."""
    name = run(docker, "run", "--detach", *arguments)
    try:
        yield name
    finally:
        run(docker, "rm", "--force", name)


def wait_until_ready(given: argparse.Namespace, name: str) -> None:
    """Raises ``RuntimeError`` where the server does not become ready, with its last words."""
    limit = time.monotonic() + START_LIMIT
    while time.monotonic() < limit:
        try:
            if ask(given.port, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{given.image} was not ready in {START_LIMIT:.0f} s: {run(given.docker, 'logs', name)[-500:]}")


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_LIMIT)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def kilobytes(status: str, name: str) -> float:
    """A value of /proc/PID/status, where kB are of 1024 bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/1/status has no {name}")
    return float(found[1])


def run(*command: str) -> str:
    """What a command printed. Raises ``RuntimeError`` with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:2])}: {done.stderr[-500:]}")
    return done.stdout.strip()


def report(given: argparse.Namespace, layers: list[tuple[str, float]], starts: list[Start]) -> str:
    """Both tables."""
    total = sum(size for _, size in layers)
    weights = [[f"`{command}`", f"{size / 1e6:.0f}"] for command, size in layers if size >= 1e6]
    runs = [
        ["start to ready", f"{median(each.ready for each in starts):.1f} s"],
        [f"a mixed batch of {given.pairs}", f"{median(each.batch for each in starts):.1f} s"],
        ["RssAnon after it", f"{median(each.anonymous for each in starts) / 1e6:.0f} MB"],
        ["VmHWM", f"{median(each.peak for each in starts) / 1e6:.0f} MB"],
    ]
    return "\n".join(
        [
            f"### {given.image}: {total / 1e9:.2f} GB\n",
            table(["layer", "MB"], weights),
            f"\n### with {given.cpus} CPUs and {given.memory}, medians of {len(starts)}\n",
            table(["", ""], runs),
        ]
    )


if __name__ == "__main__":
    main()
