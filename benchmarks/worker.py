"""One system in one process: reads requests as JSON lines, answers with scores and the seconds that they took."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

from machine import pin
from resident import resident


def main() -> None:
    name, checkpoint, max_length, core_list = sys.argv[1:5]
    cores = tuple(int(core) for core in core_list.split(","))
    pin(cores)
    answers = os.fdopen(os.dup(1), "w")  # libraries print as they like: their output goes where errors go
    os.dup2(2, 1)

    import torch

    torch.set_num_threads(len(cores))  # before a model is loaded: our engine takes the number then
    from product_rates import rates
    from systems import SYSTEMS

    score = SYSTEMS[name](checkpoint, int(max_length))
    score("a query", ["a passage"])  # what is made at the first call only; and what cannot score ends here
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "products" in request:
            reply: dict[str, Any] = {"gflops": rates(request["products"], request["dtypes"])}
        elif "memory" in request:
            reply = {"memory": resident()}
        else:
            before = clocks()
            scores = score(request["query"], request["documents"])
            reply = {name: now - before[name] for name, now in clocks().items()}
            reply["scores"] = [float(value) for value in scores]
        print(json.dumps(reply), file=answers, flush=True)
    os._exit(0)  # some systems keep threads that would go on for ever


def clocks() -> dict[str, float]:
    """Seconds: of the process's CPU time, of that in the kernel, and by the wall."""
    kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime
    return {"cpu": time.process_time(), "kernel": kernel, "wall": time.perf_counter()}


if __name__ == "__main__":
    main()
