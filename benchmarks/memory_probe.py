"""Our packed engine in a fresh process: how long it takes to the first score, and the memory at each step.

Reads a query and its documents as JSON from its input; nothing that is measured may have been imported before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

from resident import resident


def main() -> None:
    checkpoint, dtype, max_length, threads = sys.argv[1:5]
    request = json.load(sys.stdin)
    memory = {}

    began = perf_counter()
    import numpy  # noqa: F401
    import rerank_core
    import rerank_core.engines.packed.engine
    import safetensors  # noqa: F401
    import tokenizers  # noqa: F401
    import torch  # noqa: F401

    imported = perf_counter()
    memory["imports"] = resident()

    from rerank_core.checkpoints.manifest import read_manifest, verify

    verifying = perf_counter()
    manifest = read_manifest(Path(checkpoint))
    if manifest is not None:
        verify(Path(checkpoint), manifest)  # once in a process: load() finds it done
    verified = perf_counter()

    loading = perf_counter()
    model = rerank_core.load(
        checkpoint, device="cpu", engine="packed", dtype=dtype, max_length=int(max_length), threads=int(threads)
    )
    loaded = perf_counter()
    memory["load"] = resident()
    if model.info.dtype != dtype:
        raise RuntimeError(f"this machine computes in {model.info.dtype} instead of {dtype}")

    scoring = perf_counter()
    model.score(request["query"], request["documents"][:1])
    scored = perf_counter()
    memory["first score"] = resident()

    model.score(request["query"], request["documents"])
    memory["mixed set"] = resident()

    seconds = {
        "imports": imported - began,
        "verifying": verified - verifying if manifest else 0.0,
        "load": loaded - loading,
        "load to first score": loaded - loading + scored - scoring,
    }
    print(json.dumps({"seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
