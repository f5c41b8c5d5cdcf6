"""The benchmarks in miniature, on a tiny random checkpoint: that they run, that scores agree, that files appear."""

import subprocess
import sys
import tempfile
from pathlib import Path

from rerank_core.manifest import write_manifest
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from resident import is_counted
from systems import DTYPES, packed

HERE = Path(__file__).parent

# Those that need no environment to be made.
SYSTEMS = [*map(packed, DTYPES), "reference", "transformers, sorted, b16", "sentence-transformers"]

SMALL = ["--mixed", "6", "--max-length", "128", "--rounds", "1"]
BENCHMARKS = {
    "engines": ["--systems", *SYSTEMS, *SMALL, "--equal", "64", "--tokens", "256", "--agree", "1e-4"],
    "memory": SMALL,
    "scaling": [*SMALL, "--budgets", "256", "1024"],
    "steady": ["--pairs", "60", "--request", "10", "--every", "20", "--max-length", "128"],
}

OF_MEMORY = {"memory", "steady"}  # they skip themselves, loudly, where memory is not counted


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        checkpoint = write_tiny_checkpoint(scratch / "tiny", "bert")
        write_manifest(checkpoint, model="tiny", revision=None)
        chart = scratch / "engines.svg"
        written = [scratch / f"{name}.json" for name in BENCHMARKS if is_counted() or name not in OF_MEMORY] + [chart]
        failed = []
        for name, arguments in BENCHMARKS.items():
            command = [sys.executable, str(HERE / f"bench_{name}.py"), str(checkpoint), *arguments]
            outputs = ["--json", str(scratch / f"{name}.json"), *(["--chart", str(chart)] if name == "engines" else [])]
            print(f"\n## {name}\n", flush=True)
            if subprocess.run([*command, *outputs], check=False).returncode:
                failed.append(f"{name} failed")
        failed += [f"{path.name} was not written" for path in written if not path.exists()]
    for complaint in failed:
        print(complaint, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
