"""Measures the server on the device, with many clients, against the model in process."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from machine import usable_cores
from pairs import PairSet, Vocabulary
from rerank_core.models.local import LocalModel

from gpu.bench import Bench
from gpu.measures import seconds_of
from gpu.scorers import RAW, ours

NEEDED = ("litestar", "msgspec", "uvicorn", "httptools", "multipart", "sniffio", "prometheus_client")
REQUESTS = 8  # of a client
DOCUMENTS = 20  # of a request


def run(bench: Bench) -> None:
    """Run the section, where the server's libraries are."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    try:
        version("rerank-server")
    except PackageNotFoundError:
        absent.append("rerank-server (its wheel has its version)")
    if absent:
        bench.report.is_missing("the server", f"not installed: {', '.join(absent)}")
        return
    with bench.report.attempt("over HTTP"):
        over_http(bench)


def over_http(bench: Bench) -> None:
    """Measure requests of 20 mixed pairs from many clients, and the same documents in process."""
    from client import ask_all, connections, rerank, span
    from server import Server, check_statuses, serving

    directory, clients = bench.default_model(), bench.size.clients
    mixed = Vocabulary(directory).mixed(REQUESTS * clients * DOCUMENTS, bench.size.long)
    documents = mixed.documents
    requests = [
        PairSet("mixed", mixed.query, documents[start : start + DOCUMENTS], mixed.lengths[start : start + DOCUMENTS])
        for start in range(0, len(documents), DOCUMENTS)
    ]
    bodies = [rerank(pairs) for pairs in requests]
    count = sum(len(pairs.documents) for pairs in requests)

    async def ask(server: Server) -> tuple[float, list[list[float]]]:
        async with connections(server, clients) as opened:
            check_statuses([answer.status for answer in await ask_all(opened, bodies[:clients])])  # not counted
            answers = await ask_all(opened, bodies)
        check_statuses([answer.status for answer in answers])
        return span(answers), [answer.scores for answer in answers]

    arguments = Namespace(checkpoint=directory, dtype="float16", max_length=bench.size.max_length, cores=usable_cores())
    dtype = "float16" if bench.is_gpu else "float32"  # the server's process has no stand-in for a GPU
    settings = {
        "RERANK_DEVICE": bench.device,
        "RERANK_DTYPE": dtype,
        "RERANK_MAX_QUEUE_PAIRS": 100_000,
        "RERANK_MAX_QUEUE_TOKENS": 100_000_000,
    }
    with serving(arguments, bench.folder / "server.log", **settings) as server:
        http, answers = asyncio.run(ask(server))
    model = ours(directory, bench.device, dtype)
    one_by_one = seconds_of(partial(_one_by_one, model, requests), repeats=3)
    at_once = seconds_of(partial(model.score, mixed.query, documents, RAW), repeats=3)
    golden = dict(zip(documents, model.score(mixed.query, documents, RAW).values, strict=True))
    difference = max(
        abs(score - golden[document])
        for pairs, scores in zip(requests, answers, strict=True)
        for document, score in zip(pairs.documents, scores, strict=True)
    )
    rows = [
        [name, f"{count / seconds:.0f}", f"{seconds / http:.2f}"]
        for name, seconds in (
            ("over HTTP", http),
            ("in process, one by one", one_by_one),
            ("in process, at once", at_once),
        )
    ]
    figures = {
        "pairs": count,
        "clients": clients,
        "http_seconds": http,
        "one_by_one_seconds": one_by_one,
        "at_once_seconds": at_once,
        "largest_difference": difference,
    }
    title = f"over HTTP, {clients} clients, {len(requests)} requests of {DOCUMENTS} pairs"
    bench.report.table(title, ["", "pairs/s", "HTTP as fast as this"], rows, figures)


def _one_by_one(model: LocalModel, requests: Sequence[PairSet]) -> None:
    for pairs in requests:
        model.score(pairs.query, pairs.documents, RAW)
