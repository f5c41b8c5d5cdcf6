"""Measures small requests: their latency, where the time goes, and what a CUDA graph would bring."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rerank_core import ScoreOptions
from rerank_core.engines.base import Batch
from rerank_core.engines.packed.network import pack
from rerank_core.models.local import LocalModel
from torch.profiler import ProfilerActivity, profile

from gpu.bench import Bench
from gpu.measures import milliseconds, seconds_of
from gpu.scorers import Score, ours, score_with, sentence_transformers, sort_and_pad
from gpu.shapes import small_requests

LISTED = 12  # operations of a profile


def run(bench: Bench) -> None:
    """Run the section."""
    for name, directory in bench.report.within(bench.shapes().items(), "small requests"):
        with bench.report.attempt(f"latency: {name}"):
            latency(bench, name, directory)
        with bench.report.attempt(f"profile: {name}"):
            profiles(bench, name, directory)
        with bench.report.attempt(f"CUDA graph: {name}"):
            graph(bench, name, directory)


def latency(bench: Bench, name: str, directory: Path) -> None:
    """Measure requests of a few short passages, from texts to scores, beside other libraries."""
    requests = small_requests(directory, bench.size)
    place: tuple[Path, str, str] = (directory, bench.device, "float16")
    systems: dict[str, Callable[[], Score]] = {
        "packed": lambda: score_with(ours(*place)),
        "transformers, one padded batch": partial(sort_and_pad, *place, batch=128),
        "sentence-transformers": partial(sentence_transformers, *place),
    }
    found: dict[str, dict[str, float]] = {}
    for system in bench.report.within(systems, f"latency: {name}"):
        with bench.report.attempt(f"latency: {name}: {system}"):
            score = systems[system]()
            found[system] = {
                str(count): seconds_of(partial(score, pairs.query, pairs.documents), repeats=5 * bench.size.repeats)
                for count, pairs in requests.items()
            }
    rows = [[system, *map(milliseconds, seconds.values())] for system, seconds in found.items()]
    columns = [f"ms, {bench.size.passage} tokens a pair", *(f"{count} passages" for count in requests)]
    bench.report.table(f"latency, float16, {name}", columns, rows, found)


def profiles(bench: Bench, name: str, directory: Path) -> None:
    """Divide the time of one forward pass: the device's, the host's, and the launches."""
    model = ours(directory, bench.device, "float16")
    rows: list[list[str]] = []
    figures: dict[str, dict[str, Any]] = {}
    for count, pairs in bench.report.within(small_requests(directory, bench.size).items(), f"profile: {name}"):
        sequences = [
            sequence
            for encoding in model.encode(pairs.query, pairs.documents, ScoreOptions())
            for sequence in encoding.sequences
        ]
        engine: Any = model._engine
        batch, numbers = Batch.of(sequences), range(len(sequences))
        # In this thread, as a worker does it: the profiler sees no other thread's operations.
        work = partial(engine._network.rows, batch, numbers, [None] * len(sequences))
        wall = seconds_of(work, repeats=5 * bench.size.repeats)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            work()
            torch.cuda.synchronize()
        events = profiler.key_averages()
        kernels = [event for event in events if event.device_type.name == "CUDA"]
        device = sum(event.self_device_time_total for event in kernels) / 1e6
        host = sum(event.self_cpu_time_total for event in events) / 1e6
        launches = sum(event.count for event in events if "LaunchKernel" in event.key)
        figures[str(count)] = {
            "wall_seconds": wall,
            "device_seconds": device,
            "host_seconds": host,
            "kernels": sum(event.count for event in kernels),
            "launches": launches,
            "by_device_time": _longest(kernels, "self_device_time_total"),
            "by_host_time": _longest(list(events), "self_cpu_time_total"),
        }
        times = [milliseconds(seconds) for seconds in (wall, device, host)]
        rows.append([str(count), *times, str(sum(event.count for event in kernels)), str(launches)])
    columns = ["passages", "wall, ms", "device busy, ms", "host with profiler, ms", "kernels", "launches"]
    bench.report.table(f"one forward pass, float16, {name}", columns, rows, figures)
    for number, found in figures.items():
        for order in ("by_device_time", "by_host_time"):
            lines = [[key, str(calls), f"{micro:.0f}"] for key, calls, micro in found[order]]
            title = f"{number} passages {order.replace('_', ' ')}, {name}"
            bench.report.table(title, ["operation", "calls", "microseconds"], lines, found[order])


def _longest(events: list[Any], attribute: str) -> list[tuple[str, int, float]]:
    ordered = sorted(events, key=lambda event: -float(getattr(event, attribute)))[:LISTED]
    return [(event.key[:90].replace("|", "/"), int(event.count), float(getattr(event, attribute))) for event in ordered]


def graph(bench: Bench, name: str, directory: Path) -> None:
    """Compare the forward pass of one fixed shape with its CUDA graph, which launches everything at once."""
    model = ours(directory, bench.device, "float16")
    rows, figures = [], {}
    for count, pairs in bench.report.within(small_requests(directory, bench.size).items(), f"CUDA graph: {name}"):
        with bench.report.attempt(f"CUDA graph: {name}, {count} passages"):
            sequences = [
                sequence
                for encoding in model.encode(pairs.query, pairs.documents, ScoreOptions())
                for sequence in encoding.sequences
            ]
            pass_once = fixed_pass(model, Batch.of(sequences), bench.device)
            with torch.inference_mode():
                golden = pass_once().clone()
                eager = seconds_of(pass_once, repeats=5 * bench.size.repeats)
                replay, out, capture = captured(pass_once)
                replay()
                seconds = seconds_of(replay, repeats=5 * bench.size.repeats)
                is_same = bool(np.array_equal(out.float().cpu().numpy(), golden.float().cpu().numpy()))
            figures[str(count)] = {
                "eager_seconds": eager,
                "graph_seconds": seconds,
                "capture_seconds": capture,
                "same_bits": is_same,
            }
            times = f"{eager / seconds:.2f} x"
            rows.append([str(count), milliseconds(eager), milliseconds(seconds), times, str(is_same), f"{capture:.2f}"])
            bench.report.check(f"{name}, {count} passages: a CUDA graph gives the same bits", is_same)
    columns = ["passages", "eager, ms", "graph, ms", "faster", "same bits", "capture, s"]
    bench.report.table(f"CUDA graph of a fixed shape, float16, {name}", columns, rows, figures)


def fixed_pass(model: LocalModel, batch: Batch, device: str) -> Callable[[], torch.Tensor]:
    """Return the network's pass over one batch that lies on the device already."""
    engine: Any = model._engine
    network = engine._network
    packed = pack(batch, range(len(batch.lengths)), padding=network.padding, device=engine.device)

    def pass_once() -> torch.Tensor:
        rows: torch.Tensor = network.head(network.encoder(packed), packed)
        return rows

    return pass_once


def captured(work: Callable[[], torch.Tensor]) -> tuple[Callable[[], object], torch.Tensor, float]:
    """Capture a CUDA graph; return its replay, the tensor that this writes, and the seconds that capturing took."""
    start = time.perf_counter()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    found = torch.cuda.CUDAGraph()
    with torch.cuda.graph(found):
        out = work()
    torch.cuda.synchronize()
    return found.replay, out, time.perf_counter() - start
