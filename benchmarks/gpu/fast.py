"""Measures speed: against the card's own rate, beside other libraries, and with batches of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from figures import operations
from pairs import PairSet
from rerank_core import ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.types import TokenSequence

from gpu.bench import Bench
from gpu.measures import memory_peak, reset_memory_peak, seconds_of
from gpu.scorers import (
    PEER_BATCH,
    PEER_DEFAULT,
    RAW,
    Score,
    device_class,
    ours,
    road,
    score_with,
    sentence_transformers,
    sort_and_pad,
)
from gpu.shapes import decoder_documents, text_sets

HALVES = ("float16", "bfloat16")


def run(bench: Bench) -> None:
    """Run the section."""
    peaks: dict[str, float] = {}
    with bench.report.attempt("the card's own rates"):
        peaks = own_rates(bench)
    with bench.report.attempt("share of the card's rate"):
        shares(bench, peaks)
    for name, directory in bench.report.within(bench.shapes().items(), "beside others"):
        with bench.report.attempt(f"beside others: {name}"):
            beside_others(bench, name, directory)
    with bench.report.attempt("batches"):
        batches(bench)
    with bench.report.attempt("a language model"):
        language_model(bench, peaks)


def own_rates(bench: Bench) -> dict[str, float]:
    """Measure matrix products in each dtype, in TFLOP/s, and a copy, in TB/s of bytes read and written."""
    size, rates = bench.size.matrix, {}
    for dtype in ("float32", *HALVES):
        left, right = (torch.randn(size, size, device=bench.device, dtype=getattr(torch, dtype)) for _ in range(2))
        out = torch.empty_like(left)
        seconds = seconds_of(partial(torch.mm, left, right, out=out))
        rates[dtype] = 2 * size**3 / seconds / 1e12
    source = torch.randn(size * size * 4, device=bench.device)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / seconds_of(partial(target.copy_, source)) / 1e12
    rows = [[name, f"{rate:.1f} TFLOP/s"] for name, rate in rates.items()] + [["copy", f"{copy:.2f} TB/s"]]
    title = f"the card's own rates, products of {size} rows and columns"
    bench.report.table(title, ["", "rate"], rows, {**rates, "copy": copy})
    return rates


def shares(bench: Bench, peaks: dict[str, float]) -> None:
    """Measure one full batch of each length, from token ids to scores, against the card's own rate."""
    rows, figures = [], {}
    for name, directory in bench.report.within(bench.shapes().items(), "share of the card's rate"):
        sets = text_sets(directory, bench.size)
        config = dict(next(s for s in (bench.size.default, bench.size.minilm) if s.name == name).config)
        for dtype in HALVES:
            model = ours(directory, bench.device, dtype)
            for set_name, pairs in sets.items():
                batch = full_batch(model, pairs, bench.size.batch)
                seconds = seconds_of(partial(model.forward, batch), repeats=bench.size.repeats)
                rate = operations(config, [len(sequence) for sequence in batch]) / seconds / 1e12
                share = rate / peaks[dtype] if dtype in peaks else float("nan")
                figures[f"{name}, {dtype}, {set_name}"] = {
                    "tflops": rate,
                    "share": share,
                    "pairs_per_second": len(batch) / seconds,
                    "pairs": len(batch),
                    "road": road(model),
                }
                rows.append([name, dtype, set_name, f"{rate:.1f}", f"{share:.0%}", f"{len(batch) / seconds:.0f}"])
    columns = ["shape", "dtype", "lengths", "TFLOP/s", "of the product's rate", "pairs/s"]
    bench.report.table("one full batch", columns, rows, figures)


def full_batch(model: LocalModel, pairs: PairSet, tokens: int) -> list[TokenSequence]:
    """Encode documents, again from the first where there are not enough, until a batch is full."""
    sequences = [
        sequence
        for encoding in model.encode(pairs.query, pairs.documents, ScoreOptions())
        for sequence in encoding.sequences
    ]
    found: list[TokenSequence] = []
    room = tokens
    while len(sequences[len(found) % len(sequences)]) <= room:
        found.append(sequences[len(found) % len(sequences)])
        room -= len(found[-1])
    return found or sequences[:1]


def beside_others(bench: Bench, name: str, directory: Path) -> None:
    """Measure pairs a second from texts to scores, in float16, beside other libraries."""
    sets = text_sets(directory, bench.size)
    place: tuple[Path, str, str] = (directory, bench.device, "float16")

    def own(loop: bool = False) -> Score:
        with device_class(bench.device, **({"kernel_dtypes": frozenset()} if loop else {})):
            return score_with(ours(*place))

    systems: dict[str, Callable[[], Score]] = {
        "packed": own,
        "packed, attention in a loop": partial(own, loop=True),
        "transformers, sorted, sdpa": partial(sort_and_pad, *place),
        "transformers, sorted, flash": partial(sort_and_pad, *place, attention="flash_attention_2"),
        f"sentence-transformers, batches of {PEER_BATCH}": partial(sentence_transformers, *place),
        f"sentence-transformers, of {PEER_DEFAULT}, its default": partial(
            sentence_transformers, *place, batch=PEER_DEFAULT
        ),
        "sentence-transformers, unpadding": partial(sentence_transformers, *place, unpads=True),
    }
    found: dict[str, dict[str, float]] = {}
    scores: dict[str, Sequence[float]] = {}
    for system in bench.report.within(systems, f"beside others: {name}"):
        with bench.report.attempt(f"{name}: {system}"):
            score = systems[system]()
            mixed = sets["mixed"]
            scores[system] = score(mixed.query, mixed.documents)
            found[system] = {
                set_name: len(pairs.documents)
                / seconds_of(partial(score, pairs.query, pairs.documents), repeats=bench.size.repeats)
                for set_name, pairs in sets.items()
            }
            del score
        reset_memory_peak()
    own_rates = found.get("packed", {})
    rows = [
        [system, *(f"{rate:.0f} ({own_rates.get(key, float('nan')) / rate:.2f} x)" for key, rate in rates.items())]
        for system, rates in found.items()
    ]
    columns = ["pairs/s (ours against it)", *sets]
    figures = {"pairs_per_second": found, "scores": {system: list(values) for system, values in scores.items()}}
    bench.report.table(f"beside others, float16, {name}", columns, rows, figures)


def batches(bench: Bench) -> None:
    """Measure the budget of a batch: pairs a second on mixed lengths, and the most memory."""
    directory = bench.default_model()
    pairs = text_sets(directory, bench.size)["mixed"]
    documents = [*pairs.documents] * 2
    rows, figures = [], {}
    model = ours(directory, bench.device, "float16")
    sequences = [
        sequence for encoding in model.encode(pairs.query, documents, ScoreOptions()) for sequence in encoding.sequences
    ]
    for budget in bench.report.within(bench.size.budgets, "batches"):
        with device_class(bench.device, worker_tokens=budget):
            reset_memory_peak()
            seconds = seconds_of(partial(_in_batches, model, sequences, budget), repeats=3)
            peak = memory_peak()
        rate = len(sequences) / seconds
        figures[str(budget)] = {"pairs_per_second": rate, "peak_megabytes": peak}
        rows.append([str(budget), f"{rate:.0f}", f"{peak:.0f}"])
    columns = ["tokens of a batch", "pairs/s", "most memory, MB"]
    bench.report.table("the budget of a batch, default shape, float16", columns, rows, figures)


def _in_batches(model: LocalModel, sequences: Sequence[TokenSequence], budget: int) -> None:
    from rerank_core.models.batching import batch_order, micro_batches

    for batch in micro_batches(batch_order(sequences), budget, model.cost):
        model.forward(batch)


def language_model(bench: Bench, peaks: dict[str, float]) -> None:
    """Measure Qwen3-Reranker-0.6B's shape: with the shared prefix, without, and plain transformers."""
    directory = bench.decoder()
    documents = decoder_documents(directory, bench.size.short, max(2, bench.size.documents // 4))
    query = "where does the giant panda live and what does it eat"
    rows, figures = [], {}
    for dtype in bench.report.within(HALVES, "a language model"):
        model = ours(directory, bench.device, dtype, max_length=1024)
        sequences = [sequence for encoding in model.encode(query, documents, RAW) for sequence in encoding.sequences]
        whole = [TokenSequence(sequence.token_ids, sequence.type_ids) for sequence in sequences]
        forms: dict[str, Callable[[], Any]] = {
            "texts, shared prefix": partial(model.score, query, documents, RAW),
            "token ids, no shared prefix": partial(_in_batches, model, whole, bench.size.batch),
        }
        for form, work in forms.items():
            seconds = seconds_of(work, repeats=3)
            rate = sum(map(decoder_operations(bench), map(len, sequences))) / seconds / 1e12
            figures[f"{dtype}, {form}"] = {
                "documents_per_second": len(documents) / seconds,
                "tflops": rate,
                "share": rate / peaks[dtype] if dtype in peaks else None,
                "road": road(model),
            }
            share = f"{rate / peaks[dtype]:.0%}" if dtype in peaks else ""
            rows.append([dtype, form, f"{len(documents) / seconds:.0f}", f"{rate:.1f}", share, road(model)])
    tokens = len(sequences[0])
    columns = ["dtype", "from", "documents/s", "TFLOP/s of all tokens", "of the product's rate", "attention"]
    bench.report.table(f"Qwen3-0.6B's shape, {len(documents)} prompts of {tokens} tokens", columns, rows, figures)


def decoder_operations(bench: Bench) -> Callable[[int], float]:
    """Return the nominal operations of one prompt, by its tokens: products, and attention to those before a token."""
    from bench_language_models import SHAPE

    shape: dict[str, Any] = {**SHAPE, **bench.size.decoder_config}
    hidden, inner, width = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    queries, keys = shape["num_attention_heads"] * width, shape["num_key_value_heads"] * width
    products = hidden * (2 * queries + 2 * keys + 3 * inner)
    return lambda tokens: float(bench.size.decoder_layers * (2 * products * tokens + 2 * queries * tokens**2))
