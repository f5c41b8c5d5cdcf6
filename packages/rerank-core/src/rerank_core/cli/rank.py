"""``rerank rank``: order the passages of a file."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.cli.command import Command, Parser, add_load_options, load_options, positive_int
from rerank_core.errors import InvalidRequest
from rerank_core.loading import load
from rerank_core.models.local import LocalModel
from rerank_core.ranking import rerank
from rerank_core.remote import remote_scorer
from rerank_core.terminal import shorten
from rerank_core.types import RankedDocument, ScoreOptions, Span

_OF_THE_REQUEST = ("long_documents",)  # here an option of scoring


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, and the JSON object that it came in, where it came in one."""

    text: str
    record: dict[str, Any] | None = None


def _configure(parser: Parser) -> None:
    parser.add_argument("query", metavar="QUERY", help="the question that the passages should answer")
    parser.add_argument(
        "file", metavar="FILE", help="passages: one a line, or JSON lines with a field 'text'; - is standard input"
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
    parser.add_argument("--json", action="store_true", help="print JSON lines: rank, index, score, text, span")
    add_load_options(parser, without=_OF_THE_REQUEST)


def _run(arguments: argparse.Namespace) -> int:
    passages = _read(arguments.file)
    options = ScoreOptions(raw=arguments.raw, long_documents=arguments.long_documents)
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


COMMAND = Command("rank", "Order the passages of a file, best first.", _configure, _run)


def _read(name: str) -> list[Passage]:
    """Read the passages of a file. Raises ``InvalidRequest`` naming the line that is none."""
    try:
        if name == "-":
            content = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as file:  # noqa: PTH123 (a name of the caller's, `/dev/fd/3` among them)
                content = file.read()
        lines = content.decode().removeprefix("\ufeff").split("\n")
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from error
    return list(parse_passages(lines))


def parse_passages(lines: Iterable[str]) -> Iterable[Passage]:
    """Yield passages, one a line; blank lines are passed over.

    Where the first line begins with ``{``, every line is a JSON object with a string ``text``. Raises
    ``InvalidRequest`` naming the line that is not.
    """
    is_json: bool | None = None
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        if is_json is None:
            is_json = text.startswith("{")
        yield _parse_record(text, number) if is_json else Passage(text)


def _parse_record(line: str, number: int) -> Passage:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"line {number} is not JSON ({error}), as the first line is") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InvalidRequest(f"line {number} is not a JSON object with a string 'text'")
    return Passage(record["text"], record)


def _print_json(ranked: list[RankedDocument], passages: list[Passage]) -> None:
    for rank, document in enumerate(ranked, start=1):
        passage = passages[document.index]
        line: dict[str, Any] = {"rank": rank, "index": document.index, "score": document.score, "text": passage.text}
        if document.span is not None:
            line["span"] = list(document.span)
        if passage.record is not None:
            line["document"] = passage.record
        print(_json(line))


def _json(line: dict[str, Any]) -> str:
    """Write JSON that standard output can encode: a locale may know few characters, and none knows a surrogate."""
    text = json.dumps(line, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(line)
    return text


def _print_table(ranked: list[RankedDocument], passages: list[Passage]) -> None:
    rows = [(document.score, _shown(passages[document.index].text, document.span)) for document in ranked]
    table = format_table(rows, _width())
    encoding = sys.stdout.encoding  # of the locale: it may know few characters
    print(table.encode(encoding, "backslashreplace").decode(encoding))


def _shown(text: str, span: Span | None) -> str:
    """Return the part of a passage that won."""
    if span is None or span == (0, len(text)):
        return text
    return f"[{span.start}:{span.end}] {text[span.start : span.end]}"


def _width() -> int | None:
    """Return the terminal's columns; None where output is no terminal, and nothing should be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_table(rows: list[tuple[float, str]], width: int | None) -> str:
    """Format rank, score and passage in aligned columns, a passage a line, cut to ``width`` columns where given."""
    lines = ["rank    score  passage"]
    for rank, (score, text) in enumerate(rows, start=1):
        line = f"{rank:4}  {score:7.4f}  {' '.join(text.split())}"
        lines.append(line if width is None else shorten(line, width))
    return "\n".join(lines)
