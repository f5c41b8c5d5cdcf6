"""How our packed engine scales: two threads against one, tokens of a micro-batch, and what tokenising costs.

Two threads are timed by the wall, the rest in process CPU time on one core. Fails where two threads change a score's
bits. See README.md beside this.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from figures import spread
from machine import describe, pin, usable_cores
from markdown_tables import table
from pairs import PairSet, Vocabulary
from product_rates import speedup_of_independent_products
from rerank_core import Pair, ScoreOptions
from rerank_core.models.batching import micro_batches
from rerank_core.models.local import LocalModel
from rerank_core.models.scoring import distinct_sequences
from rerank_core.pairs import encode_pairs
from results import settings_of, write_results
from systems import DTYPES, packed
from workers import close_all, say_skipped, start_threads

BUDGETS = (256, 512, 1024, 2048, 4096)


@dataclass(slots=True)
class Threads:
    """A number of threads: seconds by the wall and of CPU time, one a round, and the raw scores of the last round."""

    count: int
    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Budget:
    """The tokens of a micro-batch: CPU seconds of all forward passes, one a round, and the raw scores."""

    tokens: int
    cpu_seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tokenising:
    """CPU seconds of ``tokenize`` alone, and of the whole ``score_pairs``, one a round."""

    tokenize_seconds: list[float] = field(default_factory=list)
    score_seconds: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        return median(self.tokenize_seconds) / median(self.score_seconds)


def measure_threads(
    system: str, checkpoint: Path, pairs: PairSet, *, cores: Sequence[int], max_length: int, rounds: int
) -> list[Threads]:
    """One process for each number of threads, in turns."""
    found = [Threads(count + 1) for count in range(len(cores))]
    with tempfile.TemporaryDirectory() as logs:
        workers = start_threads(system, checkpoint, max_length=max_length, cores=cores, logs=Path(logs))
        for _ in range(rounds):
            for threads, worker in zip(found, workers, strict=True):
                answer = worker.ask(query=pairs.query, documents=pairs.documents)
                threads.wall_seconds.append(answer["wall"])
                threads.cpu_seconds.append(answer["cpu"])
                threads.scores = answer["scores"]
        close_all(workers)
    return found


def measure_steps(
    model: LocalModel, pairs: Sequence[Pair], budgets: Sequence[int], rounds: int
) -> tuple[list[Budget], Tokenising]:
    """Each budget, tokenising and a whole call, in turns, after one call that is not counted."""
    sweep, tokenising, options = [Budget(tokens) for tokens in budgets], Tokenising(), ScoreOptions(raw=True)
    encodings = encode_pairs(model.encode, pairs, options)
    longest_first = sorted(distinct_sequences(encodings), key=len, reverse=True)  # as the model itself has them
    model.score_pairs(pairs, options)
    for _ in range(rounds):
        for budget in sweep:
            began = time.process_time()
            outputs = [
                output
                for batch in micro_batches(longest_first, budget.tokens, model.cost)
                for output in model.forward(batch)
            ]
            budget.cpu_seconds.append(time.process_time() - began)
            budget.scores = outputs
        began = time.process_time()
        encode_pairs(model.encode, pairs, options)
        tokenised = time.process_time()
        model.score_pairs(pairs, options)
        tokenising.tokenize_seconds.append(tokenised - began)
        tokenising.score_seconds.append(time.process_time() - tokenised)
    return sweep, tokenising


def threads_table(found: Sequence[Threads], independent: float) -> str:
    """``independent``: the speedup of products that have nothing to do with each other, see ``product_rates``."""
    alone = median(found[0].wall_seconds)
    rows = [
        [
            str(threads.count),
            f"{median(threads.wall_seconds):.3f}",
            f"{spread(threads.wall_seconds):.0%}",
            f"{alone / median(threads.wall_seconds):.2f}",
            f"{median(threads.cpu_seconds):.3f}",
            same_bits(threads.scores, found[0].scores),
        ]
        for threads in found
    ]
    columns = ["threads", "seconds by the wall", "spread", "times as fast as one", "CPU seconds", "scores of one"]
    most = f"Independent matrix products on {len(found)} threads at once: {independent:.2f} times as fast as on one."
    return f"### threads\n\n{table(columns, rows)}\n\n{most}"


def budgets_table(sweep: Sequence[Budget], own: int) -> str:
    """``own``: the budget that the engine takes, to which the others are compared where it is among them."""
    golden = next((budget for budget in sweep if budget.tokens == own), sweep[0])
    rows = [
        [
            f"{budget.tokens} (its own)" if budget.tokens == own else str(budget.tokens),
            f"{median(budget.cpu_seconds):.3f}",
            f"{spread(budget.cpu_seconds):.0%}",
            f"{median(golden.cpu_seconds) / median(budget.cpu_seconds):.2f}",
            same_bits(budget.scores, golden.scores),
        ]
        for budget in sweep
    ]
    columns = ["tokens of a micro-batch", "CPU seconds", "spread", f"times as fast as {golden.tokens}"]
    return f"### micro-batches, one thread\n\n{table([*columns, f'scores of {golden.tokens}'], rows)}"


def tokenising_table(tokenising: Tokenising) -> str:
    times = median(tokenising.tokenize_seconds), median(tokenising.score_seconds)
    row = ["mixed", f"{times[0]:.4f}", f"{times[1]:.3f}", f"{tokenising.share:.1%}"]
    return f"### tokenising, one thread\n\n{table(['pairs', 'tokenize, CPU s', 'all, CPU s', 'share'], [row])}"


def same_bits(scores: Sequence[float], golden: Sequence[float]) -> str:
    """Whether they are the same, bit by bit, or how far apart they are."""
    if list(scores) == list(golden):
        return "same bits"
    return f"up to {max(abs(one - other) for one, other in zip(scores, golden, strict=True)):.0e} apart"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=50, help="pairs of the mixed set (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument(
        "--cores", type=int, nargs=2, default=usable_cores()[:2], help="to measure on (default: the first two)"
    )
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="tokens (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    pairs = Vocabulary(arguments.checkpoint).mixed(arguments.mixed, arguments.max_length)
    if len(arguments.cores) < 2:
        say_skipped("two threads against one", "this machine has one core")
    independent = speedup_of_independent_products(len(arguments.cores), arguments.rounds)
    try:
        threads = measure_threads(
            packed(arguments.dtype),
            arguments.checkpoint,
            pairs,
            cores=arguments.cores,
            max_length=arguments.max_length,
            rounds=arguments.rounds,
        )
    except RuntimeError as error:
        say_skipped(packed(arguments.dtype), error)
        return 1
    model = load_on_one_core(arguments)
    sweep, tokenising = measure_steps(
        model, [Pair(pairs.query, document) for document in pairs.documents], arguments.budgets, arguments.rounds
    )

    machine = describe()
    head = f"{arguments.checkpoint.resolve().name}: packed engine, {arguments.dtype}, {len(pairs.lengths)} mixed pairs"
    print(f"{head}, {machine.processor}, torch {machine.versions['torch']}, {arguments.rounds} rounds\n")
    parts = [
        threads_table(threads, independent),
        budgets_table(sweep, model.batch_tokens),
        tokenising_table(tokenising),
    ]
    print("\n\n".join(parts))
    if arguments.json:
        write_results(
            arguments.json,
            machine,
            settings_of(arguments) | {"lengths": pairs.lengths, "own_budget": model.batch_tokens},
            independent_products=independent,
            threads=[_figures(row, "wall_seconds", "cpu_seconds") for row in threads],
            budgets=[_figures(row, "cpu_seconds") for row in sweep],
            tokenising=_figures(tokenising, "tokenize_seconds", "score_seconds") | {"share": tokenising.share},
        )
    changed = [row.count for row in threads if row.scores != threads[0].scores]
    for count in changed:
        print(f"scores of {count} threads are not those of one", file=sys.stderr)
    return 1 if changed else 0


def load_on_one_core(arguments: argparse.Namespace) -> LocalModel:
    import rerank_core

    pin(tuple(arguments.cores[:1]))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return rerank_core.load(
        str(arguments.checkpoint),
        device="cpu",
        engine="packed",
        dtype=arguments.dtype,
        max_length=arguments.max_length,
        threads=1,
    )


def _figures(row: Threads | Budget | Tokenising, *timed: str) -> dict[str, Any]:
    """Its values, and the medians of what was timed."""
    values: Mapping[str, Any] = asdict(row)
    return dict(values) | {f"median_{name}": median(values[name]) for name in timed}


if __name__ == "__main__":
    sys.exit(main())
