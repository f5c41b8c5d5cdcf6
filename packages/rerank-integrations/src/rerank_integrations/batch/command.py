"""``rerank batch``: score whole data sets."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.cli.command import RANK, Command, Parser, add_load_options, load_options, positive_int
from rerank_core.errors import InvalidRequest
from rerank_core.types import ScoreOptions

if TYPE_CHECKING:
    from rerank_core.scorer import Scorer

    from rerank_integrations.batch.run import Summary


_OF_THE_REQUEST = ("long_documents", "instruction")  # here options of scoring


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="IN", help="a .parquet, .jsonl, .json, .csv, .tsv (perhaps .gz) or .arrow file, or a folder")
    add("target", metavar="OUT", help="a folder: it gets one file for each of IN, with a column of scores")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--model", default=DEFAULT_MODEL, help="a directory, hub name or lite (default: %(default)s)")
    who.add_argument(
        "--url", action="append", help="ask the server at this address instead; may be given again for more servers"
    )
    add("--id", "--id-column", default="id", metavar="NAME", help="the column that names a row (default: %(default)s)")
    add("--query", default="query", metavar="NAME", help="the column of queries (default: %(default)s)")
    add("--document", default="document", metavar="NAME", help="the column of documents (default: %(default)s)")
    add("--score", default="score", metavar="NAME", help="the column that is added (default: %(default)s)")
    add("--raw", action="store_true", help="the model's own numbers instead of 0 to 1")
    add(
        "--long-documents",
        choices=("truncate", "chunk"),
        help="cut what is longer than the model reads, or score all of it, in windows",
    )
    add("--instruction", metavar="TEXT", help="what the queries ask for, for a model that takes an instruction")
    add(
        "--rerank",
        action="store_true",
        help="order the rows of each query, which must stand together, best first, with a column 'rank'",
    )
    add("--top-n", type=positive_int, metavar="N", help="keep the best N rows of each query (means --rerank)")
    add("--group", metavar="NAME", help="the column that tells queries apart (default: that of queries)")
    add(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="a row that cannot be scored ends the run, or gets no score and is counted (default: %(default)s)",
    )
    add("--chunk-rows", type=positive_int, default=4096, metavar="N", help="rows at once (default: %(default)s)")
    add_load_options(parser, without=_OF_THE_REQUEST)
    add = parser.add_argument_group("on a Ray cluster").add_argument
    add("--ray", metavar="ADDRESS", help="HOST:PORT, auto for the one that runs here, local for a new")
    add("--actors", type=positive_int, metavar="N", help="copies of the model (default: as many as fit)")
    add(
        "--cpus-per-actor",
        type=positive_int,
        default=1,
        metavar="N",
        help="and CPU threads of each, without --threads (default: %(default)s)",
    )
    add("--gpus-per-actor", type=float, default=0, metavar="N", help="default: %(default)s")


def _run(arguments: argparse.Namespace) -> int:
    print(_score(arguments))  # noqa: T201
    return 0


def _score(arguments: argparse.Namespace) -> Summary:
    from rerank_integrations.batch.files import describe, list_tasks
    from rerank_integrations.batch.job import Columns, Job
    from rerank_integrations.batch.run import score_files

    job = Job(
        columns=Columns(id=arguments.id, query=arguments.query, document=arguments.document),
        score=arguments.score,
        options=ScoreOptions(
            raw=arguments.raw, long_documents=arguments.long_documents, instruction=arguments.instruction
        ),
        rerank=arguments.rerank or arguments.top_n is not None,
        group=arguments.group,
        top_n=arguments.top_n,
        on_error=arguments.on_error,
        chunk_rows=arguments.chunk_rows,
    )
    score = score_files
    if arguments.ray:
        if arguments.url:
            raise InvalidRequest("--url and --ray exclude each other: with --url the servers do the work")
        from rerank_integrations.batch.on_ray import score_files_on_ray

        score = partial(
            score_files_on_ray,
            address=arguments.ray,
            actors=arguments.actors,
            cpus=arguments.cpus_per_actor,
            gpus=arguments.gpus_per_actor,
        )
    tasks = list_tasks(Path(arguments.source), Path(arguments.target))
    print(f"rerank: {describe(tasks, job)}", file=sys.stderr, flush=True)  # noqa: T201
    return score(arguments.source, arguments.target, _scorer(arguments), job, progress=True)


def _scorer(arguments: argparse.Namespace) -> Scorer:
    if arguments.url:
        from rerank_integrations.http.scorer import HTTPScorer

        return HTTPScorer(arguments.url, timeout=None)
    from rerank_integrations.adapters.local import ModelScorer

    model: str = arguments.model
    if Path(model).is_dir():  # an actor is in another directory
        model = str(Path(model).absolute())
    threads = arguments.cpus_per_actor if arguments.ray else None
    return ModelScorer(model, **load_options(arguments, without=_OF_THE_REQUEST, threads=threads).keywords())


COMMAND = Command(
    "batch", "Score the pairs of Parquet, CSV and JSON files, also on a Ray cluster.", _configure, _run, RANK
)
