"""Compares scores with transformers', with those in 16 bits, on both roads of attention, and for every family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS

from gpu import families
from gpu.bench import Bench
from gpu.measures import kendall_tau, largest_difference, mean_difference
from gpu.scorers import RAW, device_class, ours, road, sort_and_pad
from gpu.shapes import text_sets

HALVES = ("float16", "bfloat16")
EXACT = 1e-4  # of a float32 score from another's, relative to max(1, |score|)
NEAR = {"float16": 0.02, "bfloat16": 0.25}  # of a tiny network's score from float32; large ones are only reported
SLACK = {"float16": 0.003, "bfloat16": 0.03}  # by which one road may be farther from float32 by chance


def run(bench: Bench) -> None:
    """Run the section."""
    with bench.report.attempt("families"):
        every_family(bench)
    with bench.report.attempt("against transformers"):
        against_transformers(bench)
    for name, directory in bench.report.within(bench.shapes().items(), "16 bits"):
        with bench.report.attempt(f"16 bits: {name}"):
            in_16_bits(bench, name, directory)
    with bench.report.attempt("roads of attention"):
        roads(bench)


def against_transformers(bench: Bench) -> None:
    """Compare float32 scores, without TF32."""
    rows: list[list[str]] = []
    figures: dict[str, dict[str, object]] = {}
    for name, directory in bench.shapes().items():
        pairs = text_sets(directory, bench.size)["mixed"]
        documents = pairs.documents[: bench.size.ranked // 4 + 1]
        golden = sort_and_pad(directory, bench.device, "float32", batch=8)(pairs.query, documents)
        found = ours(directory, bench.device, "float32").score(pairs.query, documents, RAW).values
        difference = largest_difference(found, golden)
        spread = max(golden) - min(golden)
        figures[name] = {"largest_difference": difference, "documents": len(documents), "spread": spread}
        cells = [name, str(len(documents)), f"{difference:.1e}", f"{spread:.3f}"]
        on_cpu: Sequence[float] = ()
        if name == bench.size.minilm.name:  # the other one would take a CPU minutes
            on_cpu = ours(directory, "cpu", "float32").score(pairs.query, documents, RAW).values
            both = {"ours": largest_difference(found, on_cpu), "transformers": largest_difference(golden, on_cpu)}
            figures[name] |= {"from_cpu": both, "ours": list(found), "transformers": list(golden), "cpu": list(on_cpu)}
            cells.append(", ".join(f"{whose} {value:.1e}" for whose, value in both.items()))
        rows.append(cells + [""] * (5 - len(cells)))
        # On an H200 transformers' own scores of MiniLM lie 1e-4 from those of a CPU, and ours 3e-6.
        is_exact = difference <= EXACT or largest_difference(found, on_cpu or golden) <= EXACT / 10
        bench.report.check(f"{name}: float32 scores are transformers' within {EXACT:g}, or a CPU's", is_exact)
    columns = ["shape", "documents", "largest difference", "highest less lowest score", "from our scores of a CPU"]
    bench.report.table("float32 against transformers' float32", columns, rows, figures)


def in_16_bits(bench: Bench, name: str, directory: Path) -> None:
    """Compare float16 and bfloat16 with float32."""
    pairs = text_sets(directory, bench.size)["mixed"]
    documents = pairs.documents[: bench.size.ranked]
    golden = ours(directory, bench.device, "float32").score(pairs.query, documents, RAW).values
    rows, figures = [], {}
    for dtype in HALVES:
        found = ours(directory, bench.device, dtype).score(pairs.query, documents, RAW).values
        largest, mean, tau = (measure(found, golden) for measure in (largest_difference, mean_difference, kendall_tau))
        figures[dtype] = {"largest_difference": largest, "mean_difference": mean, "kendall_tau": tau}
        rows.append([dtype, f"{largest:.1e}", f"{mean:.1e}", f"{tau:.3f}"])
    columns = [f"{name}, {len(documents)} documents", "largest difference", "mean", "Kendall's tau"]
    bench.report.table(f"16 bits against float32, {name}", columns, rows, figures)


def roads(bench: Bench) -> None:
    """Compare attention in one kernel with the loop over sequences, in both 16-bit dtypes."""
    directory = bench.default_model()
    pairs = text_sets(directory, bench.size)["mixed"]
    documents = pairs.documents[: bench.size.ranked // 4 + 1]
    golden = ours(directory, bench.device, "float32").score(pairs.query, documents, RAW).values
    rows, figures = [], {}
    for dtype in HALVES:
        model = ours(directory, bench.device, dtype)
        kernel = model.score(pairs.query, documents, RAW).values
        with device_class(bench.device, kernel_dtypes=frozenset()):
            looping = ours(directory, bench.device, dtype)
        loop = looping.score(pairs.query, documents, RAW).values
        differences = [largest_difference(*two) for two in ((kernel, loop), (kernel, golden), (loop, golden))]
        names = ("kernel_loop", "kernel_float32", "loop_float32")
        figures[dtype] = {**dict(zip(names, differences, strict=True)), "road": road(model), "other": road(looping)}
        rows.append([dtype, road(model), road(looping), *(f"{difference:.1e}" for difference in differences)])
        bench.report.check(f"default shape, {dtype}: attention runs in one kernel", "one kernel" in road(model))
        # Both round as often: neither may be much farther from float32 than the other.
        is_alike = max(differences[1:]) <= 4 * min(differences[1:]) + SLACK[dtype]
        bench.report.check(f"default shape, {dtype}: both roads are as near to float32", is_alike)
    columns = ["", "road", "other road", "from each other", "road from float32", "other from float32"]
    bench.report.table("roads of attention", columns, rows, figures)


def every_family(bench: Bench) -> None:
    """Compare the device's scores of a tiny network of every family with those of the CPU."""
    writers: dict[str, Callable[[Path], Any]] = {
        **{name: partial(families.write_encoder, name=name) for name in (*ARCHITECTURES, *families.VARIANTS)},
        **{name: partial(families.write_decoder, name=name) for name in DECODERS},
    }
    rows, figures = [], {}
    for name in bench.report.within(writers, "families"):
        with bench.report.attempt(f"family {name}"):
            directory = bench.folder / f"tiny-{name}"
            writers[name](directory)
            query, documents = families.QUERY, families.DOCUMENTS
            options = {"recipe": "none"} if name in DECODERS else {}
            golden = ours(directory, "cpu", "float32", **options).score(query, documents, RAW).values
            differences = {}
            for dtype in ("float32", *HALVES):
                model = ours(directory, bench.device, dtype, **options)
                differences[dtype] = largest_difference(model.score(query, documents, RAW).values, golden)
                limit = {"float32": EXACT, **NEAR}[dtype]
                bench.report.check(f"{name}, {dtype}: within {limit:g} of the CPU", differences[dtype] <= limit)
            figures[name] = {**differences, "road": road(model)}
            rows.append([name, *(f"{value:.1e}" for value in differences.values()), road(model)])
    bench.report.figures["tf32"] = bool(torch.backends.cuda.matmul.allow_tf32)
    bench.report.table(
        "tiny networks against the CPU's float32", ["family", "float32", *HALVES, "attention"], rows, figures
    )
