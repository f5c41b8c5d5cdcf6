"""The benchmarks in miniature, on a tiny random checkpoint: that they run, and that scores agree."""

import subprocess
import sys
import tempfile
from pathlib import Path

from rerank_core.testing.checkpoints import write_tiny_checkpoint

HERE = Path(__file__).parent
HERE_ONLY = ["packed", "reference", "transformers, sorted, b16", "sentence-transformers"]  # no environment to be made
SIZES = ["--rounds", "1", "--mixed", "6", "--equal", "64", "--tokens", "256", "--max-length", "128", "--agree", "1e-4"]


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = write_tiny_checkpoint(Path(scratch) / "tiny", "bert")
        command = [sys.executable, str(HERE / "bench_engines.py"), str(checkpoint), "--systems", *HERE_ONLY, *SIZES]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
