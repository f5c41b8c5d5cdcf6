"""Compares a document's bits alone and in company: of products, and of scores with each way to fill rows up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.ops.linear import filled
from rerank_core.models.local import LocalModel

from gpu.bench import Bench
from gpu.measures import seconds_of
from gpu.scorers import RAW, device_class, ours, road
from gpu.shapes import decoder_documents, text_sets

DTYPES = ("float32", "float16", "bfloat16")


def buckets(rows: int) -> int:
    """Fill up to powers of two, and to the numbers half-way between them."""
    power = 32
    while power < rows:
        if power * 3 // 2 >= rows:
            return power * 3 // 2
        power *= 2
    return power


def as_it_is(rows: int) -> int:
    """Fill nothing up."""
    return rows


def run(bench: Bench) -> None:
    """Run the section."""
    with bench.report.attempt("products"):
        products(bench)
    with bench.report.attempt("scores"):
        directory = bench.default_model()
        pairs = text_sets(directory, bench.size)["mixed"]
        make = partial(_load, directory, bench.device)
        scores(bench, bench.size.default.name, make, pairs.query, pairs.documents[: 2 * bench.size.alone])
    with bench.report.attempt("scores of a language model"):
        directory = bench.decoder()
        documents = decoder_documents(directory, bench.size.passage, 2 * bench.size.alone)
        make = partial(_load, directory, bench.device, max_length=1024)
        scores(bench, "Qwen3-0.6B", make, "where does the giant panda live", documents)


def products(bench: Bench) -> None:
    """Compare the first rows of a product with those of one with more rows."""
    shape, generator = bench.size.default.config, torch.Generator(bench.device).manual_seed(0)
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    counts = sorted(
        {buckets(rows) for rows in range(1, bench.size.batch + 1)}
        | {
            *(1, 8, 16, 48, 80),
            *map(class_of(bench.device).fill, range(1, bench.size.batch + 1)),
        }
    )
    rows, figures = [], {}
    for dtype in DTYPES:
        for inputs, outputs in ((hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)):
            options: dict[str, Any] = {"device": bench.device, "dtype": getattr(torch, dtype), "generator": generator}
            x = torch.randn(bench.size.batch, inputs, **options)
            weight = torch.randn(outputs, inputs, **options) * inputs**-0.5
            bias = torch.randn(outputs, **options)
            whole = torch.addmm(bias, x, weight.t())
            differing = [
                count for count in counts if not torch.equal(torch.addmm(bias, x[:count], weight.t()), whole[:count])
            ]
            figures[f"{dtype}, {inputs} x {outputs}"] = {"rows": counts, "differing": differing}
            listed = ", ".join(map(str, differing)) or "none"
            rows.append([dtype, f"{inputs} x {outputs}", f"{len(counts) - len(differing)}/{len(counts)}", listed])
    columns = ["dtype", "weight", "numbers of rows with the same bits", "those with others"]
    bench.report.table(f"products: rows against the same of {bench.size.batch}", columns, rows, figures)


def scores(bench: Bench, name: str, make: Callable[[str], LocalModel], query: str, documents: Sequence[str]) -> None:
    """Compare each document's score alone with that in company, and what filling up costs."""
    one_number = max(bench.size.batch, filled(bench.size.batch))
    fills: dict[str, Callable[[int], int]] = {
        "nothing": as_it_is,
        "as ours": class_of(bench.device).fill,
        f"to {one_number}": lambda rows: max(rows, one_number),
    }
    rows, figures = [], {}
    for dtype in bench.report.within(DTYPES, f"company: {name}"):
        for splits in ("none", "automatic") if dtype != "float32" and knows_splits() else ("none",):
            for fill_name in bench.report.within(fills, f"company: {name}, {dtype}"):
                with ExitStack() as stack:
                    if splits == "automatic":
                        stack.enter_context(automatic_splits())
                    stack.enter_context(device_class(bench.device, fill=fills[fill_name]))
                    model = make(dtype)  # anew: its graphs are filled up in one way
                    together = model.score(query, documents, RAW).values
                    alone = [
                        model.score(query, [document], RAW).values[0] for document in documents[: bench.size.alone]
                    ]
                    seconds = seconds_of(partial(model.score, query, documents, RAW), repeats=3)
                equal = sum(one == other for one, other in zip(alone, together, strict=False))
                most = max(abs(one - other) for one, other in zip(alone, together, strict=False))
                figures[f"{dtype}, splits {splits}, {fill_name}"] = {
                    "equal": equal,
                    "documents": len(alone),
                    "largest_difference": most,
                    "seconds": seconds,
                    "road": road(model),
                }
                if bench.is_gpu and dtype != "float32" and fill_name == "as ours":
                    sentence = f"{name}, {dtype}, splits {splits}: the same bits alone and in company"
                    bench.report.check(sentence, equal == len(alone))
                rate = f"{len(documents) / seconds:.0f}"
                rows.append([dtype, splits, fill_name, f"{equal}/{len(alone)}", f"{most:.1e}", rate, road(model)])
    columns = ["dtype", "splits", "rows filled", "same bits", "largest difference", "documents/s", "attention"]
    bench.report.table(f"alone against in company, {name}", columns, rows, figures)


def knows_splits() -> bool:
    """Return whether torch's kernel can be asked not to divide keys into splits."""
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention import varlen

    return "num_splits" in signature(varlen.varlen_attn).parameters


@contextmanager
def automatic_splits() -> Iterator[None]:
    """Hide the argument ``num_splits`` of torch's kernel while a model is loaded."""
    from torch.nn.attention import varlen

    attend = varlen.varlen_attn

    def without(
        query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, **options: Any
    ) -> Any:
        return attend(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **options)

    known = signature(attend)
    kept = [parameter for name, parameter in known.parameters.items() if name != "num_splits"]
    without.__signature__ = known.replace(parameters=kept)  # type: ignore[attr-defined]
    with mock.patch.object(varlen, "varlen_attn", without):
        yield


def _load(directory: Path, device: str, dtype: str, **options: Any) -> LocalModel:
    return ours(directory, device, dtype, **options)
