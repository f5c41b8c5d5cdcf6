"""The server over HTTP against its own model in process: what the way costs, and what requests do to each other.

Everything is by the wall, in rounds that take turns; the server, its clients and the model in process share the same
cores. Fails where a score over HTTP is not the same to the last bit. See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

import http_measures
from figures import spread
from http_measures import Beside, Crowd, Overhead, Refusing, ScoresDiffer, Throughput
from latencies import milliseconds, of_rounds
from machine import describe, pin
from markdown_tables import table
from pairs import Vocabulary
from results import settings_of, write_results
from server import add_arguments, serving
from systems import packed
from workers import Worker, say_skipped


def throughput_table(found: Throughput) -> str:
    rows = [
        [name, f"{found.pairs / median(seconds):.2f}", f"{spread(seconds):.0%}", ratio]
        for name, seconds, ratio in (
            ("in process", found.own_seconds, "1.00"),
            ("over HTTP", found.http_seconds, f"{found.ratio:.2f}"),
        )
    ]
    clients = median(cpu / wall for cpu, wall in zip(found.client_seconds, found.http_seconds, strict=True))
    title = f"### throughput: {found.pairs} mixed pairs a round, same scores"
    columns = ["", "pairs/s", "spread", "times as fast as in process"]
    return f"{title}\n\n{table(columns, rows)}\n\nThe clients took {clients:.2%} of one core."


def crowd_table(found: Crowd) -> str:
    rows = [
        [name, milliseconds(median(seconds)), f"{spread(seconds):.0%}", ratio]
        for name, seconds, ratio in (
            (f"one request of {found.pairs} pairs", found.one_seconds, "1.00"),
            (f"{found.pairs} requests of one pair", found.many_seconds, f"{found.ratio:.2f}"),
        )
    ]
    return f"### many small against one large\n\n{table(['', 'ms', 'spread', 'times as fast as one'], rows)}"


def beside_table(found: Beside) -> str:
    shares = (0.5, 0.95)
    rows = [
        [
            name,
            *(milliseconds(of_rounds(rounds, share)) for share in shares),
            *(f"{found.against_alone(share):.2f}" if is_beside else "1.00" for share in shares),
            *(f"{found.against_batch(rounds, share):.2f}" for share in shares),
        ]
        for name, rounds, is_beside in (
            ("alone", found.alone_seconds, False),
            (f"beside {found.documents} documents", found.beside_seconds, True),
        )
    ]
    batch = f"{milliseconds(median(found.batch_seconds))} ms, {found.batch_pairs} pairs of {found.length} tokens"
    columns = ["", "p50, ms", "p95, ms", "p50 / alone", "p95 / alone", "p50 / micro-batch", "p95 / micro-batch"]
    title = "### a small request beside a large one"
    return f"{title}\n\n{table(columns, rows)}\n\nA micro-batch in process: {batch}."


def overhead_table(found: Overhead) -> str:
    shares = (0.5, 0.95)
    rows = [
        ["in process", *(milliseconds(of_rounds(found.own_seconds, share)) for share in shares)],
        ["over HTTP", *(milliseconds(of_rounds(found.http_seconds, share)) for share in shares)],
        ["what the server adds", *(milliseconds(found.added(share)) for share in shares)],
    ]
    return f"### one pair of {found.length} tokens\n\n{table(['', 'p50, ms', 'p95, ms'], rows)}"


def refusing_table(found: Refusing) -> str:
    refused = sum(len(values) for values in found.seconds)
    values = list(found.retry_after)
    seen = values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"
    row = [f"{found.queue_pairs} pairs", str(refused), str(found.scored)]
    row += [milliseconds(found.latency(share)) for share in (0.5, 0.95)]
    columns = ["room for", "answers 429", "answers 200", "429: p50, ms", "429: p95, ms", "Retry-After"]
    return f"### refusing\n\n{table(columns, [[*row, seen]])}"


async def measure(arguments: argparse.Namespace, logs: Path) -> tuple[Throughput, Crowd, Beside, Overhead, Refusing]:
    """One server with the model in process beside it, and then a small one that is full soon."""
    vocabulary, rounds, longest = Vocabulary(arguments.checkpoint), arguments.rounds, arguments.max_length
    settings = {"RERANK_MAX_DOCUMENTS": max(1000, arguments.large)}
    settings["RERANK_MAX_QUEUE_PAIRS"] = 4 * settings["RERANK_MAX_DOCUMENTS"]
    worker = Worker(
        packed(arguments.dtype),
        arguments.checkpoint,
        max_length=longest,
        cores=arguments.cores,
        log=logs / "worker.log",
        python=sys.executable,
    )
    with serving(arguments, logs / "server.log", **settings) as server:
        _say("throughput")
        through = await http_measures.throughput(
            server,
            worker,
            vocabulary,
            clients=arguments.clients,
            requests=arguments.requests,
            documents=arguments.documents,
            max_length=longest,
            rounds=rounds,
        )
        _say("one pair")
        one = await http_measures.overhead(
            server, worker, vocabulary, length=min(32, longest), probes=5 * arguments.probes, rounds=rounds
        )
        _say("many small against one large")
        many = await http_measures.crowd(
            server, vocabulary, pairs=arguments.crowd, max_length=longest, rounds=max(2, rounds)
        )
        _say("a small request beside a large one")
        small = await http_measures.beside(
            server,
            worker,
            vocabulary,
            documents=arguments.large,
            length=min(arguments.length, longest),
            probes=arguments.probes,
            rounds=rounds,
        )
    worker.close()

    _say("refusing")
    room = 2 * arguments.documents
    settings = {"RERANK_MAX_DOCUMENTS": room, "RERANK_MAX_QUEUE_PAIRS": room}
    with serving(arguments, logs / "full.log", **settings) as server:
        refused = await http_measures.refusing(
            server,
            vocabulary,
            clients=8,
            documents=arguments.documents,
            wanted=arguments.refusals,
            limit=arguments.refusing_limit,
            queue_pairs=room,
            max_length=longest,
            rounds=rounds,
        )
    return through, many, small, one, refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4, help="of the throughput (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=12, help="of the throughput, a round (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=50, help="of each of these (default: %(default)s)")
    parser.add_argument("--crowd", type=int, default=64, help="small requests at once (default: %(default)s)")
    parser.add_argument("--large", type=int, default=1000, help="documents of the large one (default: %(default)s)")
    parser.add_argument("--length", type=int, default=128, help="tokens of its pairs (default: %(default)s)")
    parser.add_argument("--probes", type=int, default=20, help="small ones beside it, a round (default: %(default)s)")
    parser.add_argument("--refusals", type=int, default=100, help="answers 429 of a round (default: %(default)s)")
    parser.add_argument("--refusing-limit", type=float, default=60.0, help="seconds of it (default: %(default)s)")
    arguments = parser.parse_args()

    pin(tuple(arguments.cores))
    with tempfile.TemporaryDirectory() as logs:
        try:
            through, many, small, one, refused = asyncio.run(measure(arguments, Path(logs)))
        except (RuntimeError, ScoresDiffer) as error:
            print(error, file=sys.stderr)
            return 1

    machine = describe()
    head = f"{arguments.checkpoint.resolve().name}: server, {arguments.dtype}, threads: {len(arguments.cores)}"
    print(f"{head}, {machine.processor}, torch {machine.versions['torch']}, {arguments.rounds} rounds\n")
    parts = [throughput_table(through), overhead_table(one), crowd_table(many), beside_table(small)]
    if refused.seconds:
        parts.append(refusing_table(refused))
    else:
        say_skipped("refusing", f"no request was answered 429 in {arguments.refusing_limit:g} s a round")
    print("\n\n".join(parts))
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments),
            throughput=asdict(through) | {"ratio": through.ratio},
            many_small_against_one_large=asdict(many) | {"ratio": many.ratio},
            small_beside_large=asdict(small)
            | {f"p{share * 100:.0f}_against_alone": small.against_alone(share) for share in (0.5, 0.95)}
            | {
                f"p{share * 100:.0f}_against_micro_batch": small.against_batch(small.beside_seconds, share)
                for share in (0.5, 0.95)
            },
            one_pair=asdict(one) | {f"p{share * 100:.0f}_added_seconds": one.added(share) for share in (0.5, 0.95)},
            refusing=asdict(refused)
            | (
                {f"p{share * 100:.0f}_seconds": refused.latency(share) for share in (0.5, 0.95)}
                if refused.seconds
                else {}
            ),
        )
    return 0


def _say(what: str) -> None:
    print(f"measuring: {what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
