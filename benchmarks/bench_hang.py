"""Two servers, one of which stops answering: whether a caller notices, and how long the slowest call takes.

One of the servers is stopped (``SIGSTOP``), so that it takes connections and says nothing, as a machine does that is
out of memory or a process that hangs. ``HTTPScorer`` asks both at a steady rate all the time. Then the server goes on,
and is asked again. Fails where a call fails, or takes longer than the limit. See README.md beside this.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from latencies import milliseconds, quantile
from machine import describe, pin
from markdown_tables import table
from pairs import PairSet, Vocabulary
from rerank_integrations.client import HTTPScorer
from results import settings_of, write_results
from server import HOST, Server, add_arguments, serving

SHARES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Phase:
    """Calls at a steady rate: seconds of each, the errors, and how many requests the first server has answered."""

    name: str
    seconds: list[float]
    failures: list[str]
    answered_by_first: int


def ask_steadily(scorer: HTTPScorer, requests: Sequence[PairSet], rate: float, duration: float) -> Phase:
    """So many calls a second, whether or not those before have been answered."""
    seconds: list[float] = []
    failures: list[str] = []

    def ask(pairs: PairSet) -> None:
        began = perf_counter()
        try:
            scorer.score(pairs.query, pairs.documents)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
        seconds.append(perf_counter() - began)

    count = round(rate * duration)
    began = perf_counter()
    with ThreadPoolExecutor(64) as threads:
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - perf_counter()))
            threads.submit(ask, requests[number % len(requests)])
    return Phase("", seconds, failures, 0)


def answered(server: Server) -> int:
    """How many scoring requests a server has answered, as its metrics count them."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    lines = re.findall(r"^rerank_requests_total\{[^}]*/v1/rerank[^}]*\} ([\d.e+]+)$", text, re.MULTILINE)
    return round(sum(float(line) for line in lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rate", type=float, default=4.0, help="calls a second (default: %(default)s)")
    parser.add_argument("--duration", type=float, default=30.0, help="seconds of each phase (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=10, help="of a call (default: %(default)s)")
    parser.add_argument("--hedge-after", type=float, help="seconds; ask the other server too (default: never)")
    parser.add_argument(
        "--limit",
        type=float,
        default=4.0,
        help="seconds of the slowest call while it is stopped (default: %(default)s)",
    )
    arguments = parser.parse_args()

    pin(tuple(arguments.cores))
    machine, vocabulary = describe(), Vocabulary(arguments.checkpoint)
    requests = [vocabulary.mixed(arguments.documents, arguments.max_length) for _ in range(20)]
    phases = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        first, second = (
            stack.enter_context(serving(arguments, Path(folder) / f"server-{number}.log", RERANK_THREADS=1))
            for number in range(2)
        )
        urls = [f"http://{HOST}:{server.port}" for server in (first, second)]
        scorer = stack.enter_context(HTTPScorer(urls, hedge_after=arguments.hedge_after))
        for name in ("both run", "one is stopped", "it goes on"):
            print(f"measuring: {name} ...", file=sys.stderr, flush=True)
            before = 0 if name == "one is stopped" else answered(first)
            if name == "one is stopped":
                os.kill(first.pid, signal.SIGSTOP)
                stack.callback(os.kill, first.pid, signal.SIGCONT)
            duration = arguments.duration / 3 if name == "both run" else arguments.duration
            found = ask_steadily(scorer, requests, arguments.rate, duration)
            os.kill(first.pid, signal.SIGCONT)
            by_first = 0 if name == "one is stopped" else answered(first) - before
            phases.append(Phase(name, found.seconds, found.failures, by_first))

    rows = [
        [phase.name, str(len(phase.seconds)), str(len(phase.failures)), str(phase.answered_by_first)]
        + [milliseconds(quantile(phase.seconds, share)) for share in SHARES]
        + [milliseconds(max(phase.seconds))]
        for phase in phases
    ]
    heading = ["", "calls", "failed", "answered by the first", *(f"p{share * 100:.0f}" for share in SHARES), "slowest"]
    print(f"{arguments.checkpoint.resolve().name}: two servers of one thread, {arguments.rate:g} calls a second")
    print(f"({machine.processor}), {arguments.documents} documents a call\n\n{table(heading, rows)}")
    failures = sorted({failure for phase in phases for failure in phase.failures})
    for failure in failures:
        print(failure, file=sys.stderr)
    if arguments.json:
        write_results(arguments.json, machine, settings_of(arguments), phases=[asdict(phase) for phase in phases])
    (stopped,) = (phase for phase in phases if phase.name == "one is stopped")
    return 1 if failures or max(stopped.seconds) >= arguments.limit else 0


if __name__ == "__main__":
    sys.exit(main())
