"""``rerank eval``: compare models, dtypes, lengths and modes on a judged collection."""

from __future__ import annotations

import argparse
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.cli.command import MODELS, Command, Parser, add_load_options, load_options, positive_int
from rerank_core.errors import InvalidRequest, MissingExtra
from rerank_core.loading import require_libraries

if TYPE_CHECKING:
    from rerank_core.evaluation.report.report import Provenance
    from rerank_core.evaluation.run.systems import System

# The name and password that an address may have.
_PASSWORD = re.compile(r"://[^/@\s']*@")
# Options of loading that are compared, or, as a calibration, change no raw score.
_COMPARED = ("dtype", "max_length", "long_documents", "instruction", "calibration")
_LIBRARIES = ("bm25s", "ir_measures", "numpy", "tqdm")


def _configure(parser: Parser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="a folder with corpus.jsonl, queries.jsonl and qrels.tsv, or in BEIR's or TREC's layout; texts may "
        "also be .tsv, .csv, .json, .parquet or folders of datasets",
    )
    compared = parser.add_argument_group("what is compared: every combination of these, each may be given again")
    add = compared.add_argument
    add("--model", action="append", default=[], help=f"a directory, hub name or lite (default: {DEFAULT_MODEL})")
    add("--dtype", action="append", default=[], help="such as float32, float16-weights, int8")
    add("--max-length", action="append", default=[], type=positive_int, metavar="TOKENS", help="that a pair may have")
    add("--long-documents", action="append", default=[], metavar="MODE", help="what becomes of them: truncate, chunk")
    add(
        "--instruction",
        action="append",
        default=[],
        metavar="TEXT",
        help="what the queries ask for, for models that take an instruction",
    )
    add("--url", action="append", default=[], help="a running server, which has its own model, dtype and length")

    asked = parser.add_argument_group("what is asked")
    add = asked.add_argument
    add("--queries", type=positive_int, default=150, metavar="N", help="the first N (default: %(default)s)")
    add("--depth", type=positive_int, default=20, metavar="K", help="candidates of each query (default: %(default)s)")
    add(
        "--candidates",
        metavar="FILE",
        help="JSON lines or a TREC run, or bm25 to retrieve them (default: DATA/candidates.jsonl, else bm25)",
    )
    add("--split", help="which qrels/SPLIT.tsv (default: test)")

    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--cache", type=Path, metavar="DIR", help="where scores are kept (default: the user's cache directory)")

    add_load_options(parser, without=_COMPARED)

    written = parser.add_argument_group("what is written, beside the table")
    add = written.add_argument
    add("--json", type=Path, metavar="FILE", help="all figures")
    add("--runs", type=Path, metavar="DIR", help="each system's rankings, as TREC runs")
    add("--html", type=Path, metavar="FILE", help="a page with charts, complete in itself")
    add("--calibrate", type=Path, metavar="FILE", help="a and b that make the scores of the one model probabilities")


def _run(arguments: argparse.Namespace) -> int:
    for name in _LIBRARIES:
        if find_spec(name) is None:
            raise MissingExtra.needs(f"rerank eval needs {name}", "rerank-core[eval]")
    from rerank_core.evaluation.run.systems import systems

    models = arguments.model or ([] if arguments.url else [DEFAULT_MODEL])
    compared = systems(
        models=models,
        urls=arguments.url,
        dtypes=arguments.dtype,
        max_lengths=arguments.max_length,
        long_documents=arguments.long_documents,
        instructions=arguments.instruction,
        load=load_options(arguments, without=_COMPARED),
    )
    if models:
        require_libraries()
    if arguments.calibrate and (len(compared) > 1 or arguments.url):
        raise InvalidRequest(
            f"--calibrate is for one model in one way, this would compare {len(compared)} systems"
            f"{', a server among them' if arguments.url else ''}: leave one --model and one of each other option"
        )
    return _evaluate(arguments, compared)


COMMAND = Command(
    "eval",
    "Compare models, dtypes, lengths and servers on a judged collection: quality, speed and memory.",
    _configure,
    _run,
    MODELS,
)


def _evaluate(arguments: argparse.Namespace, systems: Sequence[System]) -> int:
    from rerank_core.atomic_write import write_text
    from rerank_core.evaluation.evaluate import Request, evaluate
    from rerank_core.evaluation.judge.calibrate import calibrate
    from rerank_core.evaluation.report.page import page
    from rerank_core.evaluation.report.report import as_json, heading, remarks
    from rerank_core.evaluation.report.runs import write_runs
    from rerank_core.evaluation.report.table import table
    from rerank_core.evaluation.run.cache import Cache, default_folder

    request = Request(
        data=arguments.data,
        systems=systems,
        queries=arguments.queries,
        depth=arguments.depth,
        candidates=arguments.candidates,
        split=arguments.split,
    )
    cache = Cache(arguments.cache or default_folder())
    with closing(_Bar()) as bar:
        found = evaluate(request, cache, bar)
    print("\n".join([heading(found.report), "", table(found.report), "", *remarks(found.report)]))
    provenance = _provenance(models=any(system.model for system in systems))
    if arguments.json:
        write_text(arguments.json, as_json(found.report, provenance))
    if arguments.runs:
        labels = [row.label for row in found.report.rows if row.is_system]
        write_runs(arguments.runs, found.questions, zip(labels, found.runs, strict=True))
    if arguments.html:
        write_text(arguments.html, page(found.report, provenance))
    if arguments.calibrate:
        calibration = calibrate(found.questions, found.runs[0], data=found.report.setting.collection)
        write_text(arguments.calibrate, calibration.as_json())
        print(calibration.sentence())
    return 1 if found.report.failures else 0


def _provenance(*, models: bool) -> Provenance:
    """Note the time, the command without passwords, and the versions of what computes."""
    from rerank_core.evaluation.report.report import Provenance

    names = ("rerank-core", "torch", "transformers") if models else ("rerank-core",)
    return Provenance(
        time=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        command=_PASSWORD.sub("://", shlex.join(["rerank", *sys.argv[1:]])),
        versions={name: version(name) for name in names} | {"Python": platform.python_version()},
    )


class _Bar:
    """A progress bar on standard error, where that is a terminal; a line on what is to be done, where it is none."""

    def __init__(self) -> None:
        self._bar: Any = None

    def read(self, description: str) -> None:
        print(f"rerank: {description}", file=sys.stderr, flush=True)

    def begin(self, queries: int) -> None:
        from tqdm import tqdm  # type: ignore[import-untyped]  # it has no types

        if sys.stderr.isatty():
            self._bar = tqdm(total=queries, unit="query", file=sys.stderr, leave=False)
        else:
            print(f"{queries} queries to ask, all systems together", file=sys.stderr, flush=True)

    def system(self, label: str) -> None:
        if self._bar is not None:
            self._bar.set_description(label)

    def asked(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
