"""Provokes failures: memory that runs out, a device assert, two threads; and measures loading."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from rerank_core.errors import RerankError
from rerank_core.models.local import LocalModel
from rerank_core.types import TokenSequence

from gpu.bench import Bench
from gpu.measures import largest_difference, memory_peak, reset_memory_peak
from gpu.scorers import RAW, ours, road
from gpu.shapes import text_sets

ASSERT = "an id that the table of tokens does not have"


def run(bench: Bench) -> None:
    """Run the section."""
    with bench.report.attempt("loading"):
        loading(bench)
    with bench.report.attempt("two threads"):
        two_threads(bench)
    with bench.report.attempt("out of memory"):
        out_of_memory(bench)
    with bench.report.attempt("device assert"):
        device_assert(bench)


def loading(bench: Bench) -> None:
    """Measure loading, from files that the system has read before, to the first score, and the memory it takes."""
    rows, figures = [], {}
    for name, directory in bench.shapes().items():
        for dtype in ("float32", "float16", "bfloat16"):
            reset_memory_peak()
            start = time.perf_counter()
            model = ours(directory, bench.device, dtype)
            torch.cuda.synchronize()
            loaded = time.perf_counter() - start
            model.score("panda", ["giant panda"], RAW)
            first = time.perf_counter() - start
            held = torch.cuda.memory_allocated() / 1e6
            peak = memory_peak()
            figures[f"{name}, {dtype}"] = {
                "load_seconds": loaded,
                "first_score_seconds": first,
                "megabytes": held,
                "peak_megabytes": peak,
                "road": road(model),
            }
            rows.append([name, dtype, f"{loaded:.2f}", f"{first:.2f}", f"{held:.0f}", f"{peak:.0f}"])
            del model
    columns = ["shape", "dtype", "load, s", "to the first score, s", "device memory, MB", "most, MB"]
    bench.report.table("from file to device", columns, rows, figures)


def two_threads(bench: Bench) -> None:
    """Score from two threads at once, with one model and with two: the bits have to be those of one thread."""
    directory = bench.default_model()
    pairs = text_sets(directory, bench.size)["mixed"]
    halves = pairs.documents[::2], pairs.documents[1::2]
    models = [ours(directory, bench.device, "float16") for _ in range(2)]
    golden = [_values(pairs.query, models[0], documents) for documents in halves]
    same = {}
    for kind, chosen in (("one model", (models[0], models[0])), ("two models", (models[0], models[1]))):
        with ThreadPoolExecutor(2) as threads:
            rounds = [list(threads.map(partial(_values, pairs.query), chosen, halves)) for _ in range(3)]
        same[kind] = all(round_ == golden for round_ in rounds)
        bench.report.check(f"two threads, {kind}: the same bits as one after the other", same[kind])
    rows = [[kind, str(is_same)] for kind, is_same in same.items()]
    bench.report.table("two threads", ["", "same bits as one after the other"], rows, same)


def _values(query: str, model: LocalModel, documents: Sequence[str]) -> tuple[float, ...]:
    return model.score(query, documents, RAW).values


def out_of_memory(bench: Bench) -> None:
    """Let memory run out in a batch: it is halved, the scores come, and later batches are smaller."""
    directory = bench.default_model()
    pairs = text_sets(directory, bench.size)["mixed"]
    golden = ours(directory, bench.device, "float16").score(pairs.query, pairs.documents, RAW).values
    gc.collect()  # the memory of its graphs too: a pass that has a graph needs no more
    model = ours(directory, bench.device, "float16")
    before, heard = model.batch_tokens, _Heard()
    logging.getLogger("rerank_core").addHandler(heard)
    try:
        with short_memory():
            found = model.score(pairs.query, pairs.documents, RAW).values
    finally:
        logging.getLogger("rerank_core").removeHandler(heard)
    difference = largest_difference(found, golden)
    halved = sum("out of memory" in line for line in heard.lines)
    rows = [[str(before), str(model.batch_tokens), str(halved), f"{difference:.1e}"]]
    columns = ["tokens of a batch before", "after", "times halved", "largest difference of a score"]
    figures = {"before": before, "after": model.batch_tokens, "halved": halved, "largest_difference": difference}
    bench.report.table("out of memory", columns, rows, figures)
    bench.report.check("out of memory: batches were halved, and all scores came", 0 < model.batch_tokens < before)


@contextmanager
def short_memory() -> Iterator[None]:
    """Leave the process too little memory for a whole batch, by torch's own limit."""
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    # A batch of 16384 tokens of the default shape takes more than 0.3 GB in float16.
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 150e6) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def device_assert(bench: Bench) -> None:
    """Provoke an assert on the device, in a process of its own: it is a ``DeviceError``, and so is the next call."""
    command = [sys.executable, __file__, str(bench.minilm()), bench.device]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    answer = done.stdout.strip().splitlines()[-1:]
    found = json.loads(answer[0]) if answer and answer[0].startswith("[") else ["nothing", "nothing"]
    wanted = ["DeviceError", "DeviceError"] if bench.is_gpu else ["EngineError", "scores"]
    bench.report.table(
        "device assert", ["", "then", "exit code"], [[*map(str, found), str(done.returncode)]], {"found": found}
    )
    bench.report.check(f"{ASSERT}: {' and then '.join(wanted)}", found == wanted)
    if found != wanted:
        print(done.stderr[-3000:], file=sys.stderr)


def provoke(directory: Path, device: str) -> list[str]:
    """Score ids that are out of the table, and then others; return what came of each."""
    model = ours(directory, device, "float32")
    found = []
    for ids in ([10**6] * 40, [5] * 40):
        try:
            model.forward([TokenSequence.of(ids)])
        except RerankError as error:
            found.append(type(error).__name__)
        else:
            found.append("scores")
    return found


if __name__ == "__main__":
    print(json.dumps(provoke(Path(sys.argv[1]), sys.argv[2])))
