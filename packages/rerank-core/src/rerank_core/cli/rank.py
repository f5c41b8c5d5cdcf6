"""``rerank rank``: order the passages of a file."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.cli.command import RANK, Command, Parser, add_load_options, load_options, positive_int
from rerank_core.cli.passages import Passage, read_passages
from rerank_core.loading import load
from rerank_core.models.local import LocalModel
from rerank_core.ranking import Ranking, best_part, rerank
from rerank_core.remote import remote_scorer
from rerank_core.tables.formats import FORMATS
from rerank_core.terminal import shorten
from rerank_core.terminal import width as columns_of
from rerank_core.types import ScoreOptions, Span

_OF_THE_REQUEST = ("long_documents", "instruction")  # here options of scoring


def _configure(parser: Parser) -> None:
    parser.add_argument("query", metavar="QUERY", help="the question that the passages should answer")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="passages: text (one a line), CSV, TSV, JSON, JSON lines, Parquet, or a folder that datasets has saved; "
        "- is standard input",
    )
    read = parser.add_argument_group("how the file is read")
    read.add_argument("--column", metavar="NAME", help="the column of passages (default: text, passage, document, ...)")
    read.add_argument("--id-column", metavar="NAME", help="a column to print beside each passage")
    read.add_argument(
        "--format", choices=FORMATS, help="the file's format, where neither its name nor its beginning says it"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", default=DEFAULT_MODEL, help="a directory, hub name or lite (default: %(default)s)")
    source.add_argument("--url", help="ask the server at this address instead of loading a model")
    parser.add_argument("--top-n", type=positive_int, metavar="N", help="print the best N only")
    parser.add_argument("--threshold", type=float, metavar="T", help="print what scores at least T only")
    parser.add_argument("--raw", action="store_true", help="the model's own numbers instead of 0 to 1")
    parser.add_argument(
        "--long-documents",
        choices=["truncate", "chunk"],
        help="cut what is longer than the model reads, or score all of it, in windows",
    )
    parser.add_argument(
        "--highlight",
        choices=["sentences"],
        help="find the best sentences of each passage that is printed; the table shows the best one",
    )
    parser.add_argument(
        "--instruction", metavar="TEXT", help="what the query asks for, for a model that takes an instruction"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON lines: rank, index, score, text, span, sentences"
    )
    add_load_options(parser, without=_OF_THE_REQUEST)


def _run(arguments: argparse.Namespace) -> int:
    read = read_passages(arguments.file, form=arguments.format, column=arguments.column, id_column=arguments.id_column)
    passages = read.passages
    print(f"rerank: {read.description}", file=sys.stderr, flush=True)
    options = ScoreOptions(
        raw=arguments.raw,
        long_documents=arguments.long_documents,
        highlight=arguments.highlight,
        instruction=arguments.instruction,
    )
    scorer = remote_scorer(arguments.url) if arguments.url else _loaded(arguments)
    ranked = rerank(
        scorer,
        arguments.query,
        [passage.text for passage in passages],
        top_n=arguments.top_n,
        threshold=arguments.threshold,
        options=options,
    )
    print_ = _print_json if arguments.json else _print_table
    print_(ranked, passages)
    return 0


def _loaded(arguments: argparse.Namespace) -> LocalModel:
    return load(arguments.model, **load_options(arguments, without=_OF_THE_REQUEST).keywords())


COMMAND = Command("rank", "Order the passages of a file, best first.", _configure, _run, RANK)


def _print_json(ranked: Ranking, passages: list[Passage]) -> None:
    for rank, document in enumerate(ranked, start=1):
        passage = passages[document.index]
        line: dict[str, Any] = {"rank": rank, "index": document.index, "score": document.score}
        if passage.id is not None:
            line["id"] = passage.id
        line["text"] = passage.text
        if document.span is not None:
            line["span"] = list(document.span)
        if document.sentences is not None:
            line["sentences"] = [list(sentence) for sentence in document.sentences]
        if passage.row is not None:
            line["document"] = passage.row
        print(_json(line))


def _json(line: dict[str, Any]) -> str:
    """Write JSON that standard output can encode: a locale may know few characters, and none knows a surrogate."""
    text = json.dumps(line, ensure_ascii=False, default=str)  # a column of Parquet may hold dates
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(line, default=str)
    return text


def _print_table(ranked: Ranking, passages: list[Passage]) -> None:
    ids = [passages[document.index].id for document in ranked]
    rows = [(document.score, _shown(passages[document.index].text, best_part(document))) for document in ranked]
    table = format_table(rows, _width(), [one for one in ids if one is not None])
    encoding = sys.stdout.encoding  # of the locale: it may know few characters
    print(table.encode(encoding, "backslashreplace").decode(encoding))


def _shown(text: str, span: Span | None) -> str:
    """Return a part of a passage, with its characters before it; the whole passage alone."""
    if span is None or span == (0, len(text)):
        return text
    return f"[{span.start}:{span.end}] {text[span.start : span.end]}"


def _width() -> int | None:
    """Return the terminal's columns; None where output is no terminal, and nothing should be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_table(rows: list[tuple[float, str]], width: int | None, ids: Sequence[str] = ()) -> str:
    """Format rank, score and passage in aligned columns, a passage a line, cut to ``width`` columns where given.

    ``ids``: one for each row, in a column of their own, or none.
    """
    room = max((columns_of(one) for one in (*ids, "id")), default=0)
    shown = [f"{one}{' ' * (room - columns_of(one))}  " for one in ids] if ids else [""] * len(rows)
    lines = [f"rank    score  {'id'.ljust(room) + '  ' if ids else ''}passage"]
    for rank, ((score, text), one) in enumerate(zip(rows, shown, strict=True), start=1):
        line = f"{rank:4}  {score:7.4f}  {one}{' '.join(text.split())}"
        lines.append(line if width is None else shorten(line, width))
    return "\n".join(lines)
