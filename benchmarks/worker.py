"""One system in one process: reads requests as JSON lines, answers with scores and the CPU seconds that they took."""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    name, checkpoint, max_length, core = sys.argv[1:5]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w")  # libraries print as they like: their output goes where errors go
    os.dup2(2, 1)

    import torch

    torch.set_num_threads(1)
    from systems import SYSTEMS

    score = SYSTEMS[name](checkpoint, int(max_length))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "gemm" in request:
            reply: dict[str, object] = {"gflops": [gemm_rate(torch) for _ in range(request["gemm"])]}
        else:
            began = time.process_time()
            scores = score(request["query"], request["documents"])
            reply = {"cpu": time.process_time() - began, "scores": [float(value) for value in scores]}
        print(json.dumps(reply), file=answers, flush=True)


def gemm_rate(torch: object) -> float:
    """Billions of operations a second of a float32 product [1024, 1024] by [4096, 1024]."""
    from torch.nn import functional

    rows, weight = torch.ones(1024, 1024), torch.ones(4096, 1024)  # type: ignore[attr-defined]
    began = time.process_time()
    functional.linear(rows, weight)
    return 2 * 1024 * 1024 * 4096 / (time.process_time() - began) / 1e9


if __name__ == "__main__":
    main()
