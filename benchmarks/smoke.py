"""The benchmarks in miniature, on a tiny random checkpoint: that they run, that scores agree, that files appear."""

import subprocess
import sys
import tempfile
from pathlib import Path

from rerank_core.checkpoints.manifest import write_manifest
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from resident import is_counted
from systems import DTYPES, EXPORTS, packed

HERE = Path(__file__).parent

# Ours, and peers that need no environment to be made; and those that read an export, on one family.
SYSTEMS = [*map(packed, DTYPES), "reference", "transformers, sorted, b16", "sentence-transformers"]

SMALL = ["--mixed", "6", "--max-length", "128", "--rounds", "1"]
BENCHMARKS = {
    "engines": ["--systems", *SYSTEMS, *EXPORTS, *SMALL, "--equal", "64", "--tokens", "256", "--agree", "1e-4"],
    "memory": SMALL,
    "scaling": [*SMALL, "--budgets", "256", "1024"],
    "growth": [
        *("--passages", "1", "3", "--length", "32", "--lengths", "32", "64", "--tokens", "64"),
        *("--max-length", "128", "--rounds", "1"),
    ],
    "engines of modernbert": ["--systems", *SYSTEMS, *SMALL, "--equal", "64", "--tokens", "256", "--agree", "1e-4"],
    "local_attention of modernbert": ["--lengths", "32", "64", "--rounds", "1"],
    "language_models": ["--small", "--layers", "2", "--documents", "3", "--lengths", "20", "40"],
    "steady": ["--pairs", "60", "--request", "10", "--every", "20", "--max-length", "128"],
    "http": [
        *("--requests", "4", "--documents", "10", "--crowd", "8", "--large", "200", "--length", "64", "--probes", "5"),
        *("--refusals", "10", "--refusing-limit", "10", "--max-length", "128", "--rounds", "2"),
    ],
    "load": ["--rates", "0.5", "1.1", "--duration", "1", "--capacity-requests", "20", "--max-length", "128"],
    "gpu": ["--dry-run", "--http"],
    "soak": ["--requests", "60", "--every", "20", "--clients", "4", "--max-length", "128"],
}

OF_MEMORY = {"memory", "steady", "soak"}  # they skip themselves, loudly, where memory is not counted
WITHOUT_CHECKPOINT = {"language_models", "gpu"}  # they make their own
WITH_CHART = {"engines", "load", "soak"}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoints = {"": write_tiny_checkpoint(scratch / "tiny", "bert")}
        checkpoints["modernbert"] = write_tiny_checkpoint(scratch / "modernbert", "modernbert")
        write_manifest(checkpoints[""], model="tiny", revision=None)
        failed: list[str] = []
        written: list[Path] = []
        for name, arguments in BENCHMARKS.items():
            bench, _, family = name.partition(" of ")
            command = [sys.executable, str(HERE / f"bench_{bench}.py"), *arguments]
            if name not in WITHOUT_CHECKPOINT:
                command.insert(2, str(checkpoints[family]))
            outputs = {"--json": scratch / f"{name}.json"}
            if bench in WITH_CHART:
                outputs["--chart"] = scratch / f"{name}.svg"
            if is_counted() or name not in OF_MEMORY:
                written += outputs.values()
            print(f"\n## {name}\n", flush=True)
            command += [word for option, path in outputs.items() for word in (option, str(path))]
            if subprocess.run(command, check=False).returncode:
                failed.append(f"{name} failed")
        failed += [f"{path.name} was not written" for path in written if not path.exists()]
    for complaint in failed:
        print(complaint, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
