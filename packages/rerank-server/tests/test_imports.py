"""What importing a module of the server brings in."""

import subprocess
import sys

HEAVY = ("torch", "tokenizers", "numpy", "litestar", "uvicorn")
ASIDE = ("inference", "lifecycle", "routes", "middleware", "process", "app")


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_every_dialect_brings_in_nothing_that_scores_or_serves():
    loaded = loaded_by("import rerank_server.dialects.routing")

    assert loaded.isdisjoint(HEAVY)
    assert loaded.isdisjoint(f"rerank_server.{name}" for name in ASIDE)
