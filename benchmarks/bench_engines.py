"""Engines and peers on one core: pairs a second, ratios, and the share of the core's own matrix-product rate.

Every system is a process of its own, pinned to one core, and the rounds are interleaved, so that a drift of the
machine's speed meets them all; figures are medians of process CPU time. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pairs import PairSet, Vocabulary
from systems import PEERS, SYSTEMS

HERE = Path(__file__).parent
BASELINE = "transformers, sorted, b16"


@dataclass(slots=True)
class Figures:
    """One system on one set."""

    system: str
    pairs: str
    seconds: list[float] = field(default_factory=list)
    largest_difference: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Worker:
    """A system's process."""

    def __init__(self, system: str, checkpoint: Path, max_length: int, core: int, python: str, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [python, str(HERE / "worker.py"), system, str(checkpoint), str(max_length), str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )
        self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended: {' '.join(self._log.read_text().split()[-40:])}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def operations(config: dict[str, Any], lengths: Sequence[int]) -> float:
    """The nominal operations of all layers over real tokens: products and attention."""
    hidden, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    return float(sum(layers * (2 * n * (4 * hidden**2 + 2 * hidden * wide) + 4 * n * n * hidden) for n in lengths))


def in_float32(checkpoint: Path, scratch: Path) -> Path:
    """The checkpoint, or a copy in float32: some peers compute in whatever the file holds."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    if all(tensor.element_size() == 4 for tensor in tensors.values() if tensor.is_floating_point()):
        return checkpoint
    copy = scratch / checkpoint.name
    shutil.copytree(checkpoint, copy, ignore=shutil.ignore_patterns("*.safetensors"), copy_function=shutil.copyfile)
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_file(floats, copy / "model.safetensors", metadata={"format": "pt"})
    (copy / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32", "dtype": "float32"}))
    return copy


def peer_python(requirements: list[str]) -> str:
    """The interpreter of a throw-away environment with these packages, made by uv once."""
    name = requirements[0].split("==")[0].split("[")[0]
    environment = HERE / ".peers" / name
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        print(f"making an environment for {name} ...", file=sys.stderr, flush=True)
        uv = os.environ.get("UV", "uv")
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        subprocess.run([uv, "venv", "--quiet", "--clear", str(environment)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        where = ["--find-links", links] if links else ["--torch-backend", "cpu"]
        subprocess.run([*install, *where, "torch==2.13.0", "sentencepiece", *requirements], check=True)
        (environment / "ready").touch()
    return str(python)


def start(systems: Sequence[str], checkpoint: Path, max_length: int, core: int, logs: Path) -> dict[str, Worker]:
    """Every system that can be started here; what cannot is said, loudly."""
    workers = {}
    for number, system in enumerate(systems):
        try:
            python = peer_python(PEERS[system]) if system in PEERS else sys.executable
            workers[system] = Worker(system, checkpoint, max_length, core, python, logs / f"{number}.log")
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"SKIPPED LOUDLY: {system} was not measured: {error}", file=sys.stderr, flush=True)
    return workers


def measure(workers: dict[str, Worker], sets: Sequence[PairSet], rounds: int) -> tuple[list[Figures], float]:
    """Interleaved rounds. Gives the figures, and the best matrix-product rate of all rounds."""
    figures = {(system, pairs.name): Figures(system, pairs.name) for pairs in sets for system in workers}
    rates: list[float] = []
    golden: dict[str, list[float]] = {}
    for number in range(rounds):
        for pairs in sets:
            for system, worker in workers.items():
                rates += next(iter(workers.values())).ask(gemm=2)["gflops"]
                answer = worker.ask(query=pairs.query, documents=pairs.documents)
                scores = golden.setdefault(pairs.name, answer["scores"])
                difference = max(
                    abs(one - other) / max(1.0, abs(other)) for one, other in zip(answer["scores"], scores, strict=True)
                )
                row = figures[system, pairs.name]
                row.seconds.append(answer["cpu"])
                row.largest_difference = max(row.largest_difference, difference)
                print(f"round {number + 1}: {pairs.name}, {system}: {answer['cpu']:.2f} s", file=sys.stderr, flush=True)
    return list(figures.values()), max(rates)


def table(figures: list[Figures], sets: Sequence[PairSet], config: dict[str, Any], rate: float) -> str:
    """A Markdown table for each set."""
    lines = []
    for pairs in sets:
        rows = [row for row in figures if row.pairs == pairs.name]
        baseline = next((row.median for row in rows if row.system == BASELINE), None)
        work = operations(config, pairs.lengths)
        lines += [
            "",
            f"### {pairs.name}: {len(pairs.lengths)} pairs, {sum(pairs.lengths)} tokens",
            "",
            "| system | pairs/s | spread | against sorted transformers | share of the GEMM rate | largest difference |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            against = f"{baseline / row.median:.2f}" if baseline else "-"
            spread = (max(row.seconds) - min(row.seconds)) / row.median
            lines.append(
                f"| {row.system} | {len(pairs.lengths) / row.median:.3f} | {spread:.0%} | {against} "
                f"| {work / row.median / 1e9 / rate:.0%} | {row.largest_difference:.0e} |"
            )
    return "\n".join(lines)


def processor() -> str:
    """What the machine says it is."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a cross-encoder's directory")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=50, help="pairs of the mixed set (default: %(default)s)")
    parser.add_argument("--equal", type=int, nargs="*", default=[128, 512], help="lengths of the equal sets")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of each equal set (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    parser.add_argument("--core", type=int, default=0, help="the core to measure on (default: %(default)s)")
    parser.add_argument(
        "--agree", type=float, metavar="D", help="fail where a system is missing or scores differ by more than D"
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()

    scratch = tempfile.TemporaryDirectory()
    arguments.checkpoint = in_float32(arguments.checkpoint, Path(scratch.name))
    vocabulary = Vocabulary(arguments.checkpoint)
    sets = [vocabulary.mixed(arguments.mixed, arguments.max_length)] if arguments.mixed else []
    sets += [vocabulary.equal(length, max(1, arguments.tokens // length)) for length in arguments.equal]
    config = json.loads((arguments.checkpoint / "config.json").read_text())
    with scratch:
        workers = start(
            arguments.systems, arguments.checkpoint, arguments.max_length, arguments.core, Path(scratch.name)
        )
        figures, rate = measure(workers, sets, arguments.rounds)
        for worker in workers.values():
            worker.close()

    head = (
        f"{arguments.checkpoint.name}: {config['num_hidden_layers']} layers of {config['hidden_size']}, float32, "
        f"one core of {processor()}, best GEMM {rate:.0f} GF/s, {arguments.rounds} rounds"
    )
    print(f"{head}\n{table(figures, sets, config, rate)}")
    if arguments.json:
        content = {"machine": head, "gemm": rate, "figures": [asdict(row) for row in figures]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.agree is not None and len(workers) < len(arguments.systems):
        return 1
    worst = max(figures, key=lambda row: row.largest_difference)
    if arguments.agree is not None and worst.largest_difference > arguments.agree:
        print(f"{worst.system} differs by {worst.largest_difference:.0e} on {worst.pairs}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
