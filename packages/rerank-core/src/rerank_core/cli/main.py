"""Finds and runs subcommands.

Exit codes: 0 done, 1 it could not be done (one line on standard error says why), 2 the command line is wrong,
130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points, version

from rerank_core.cli.command import MODELS, RANK, SERVE, Command
from rerank_core.errors import MissingExtra, RerankError

GROUP = "rerank.commands"
_WIDTH = 100  # columns of the help, at most

# Commands of our other packages: named here only to say which package is missing.
_ELSEWHERE = {"serve": "rerank-server", "batch": "rerank-integrations[batch]"}
_PURPOSES = {"serve": SERVE, "batch": RANK}

_EXAMPLES = """\
Examples:
  rerank rank "How tall is the tower?" passages.csv --model lite --top-n 5
  rerank eval my-collection --model lite --model BAAI/bge-reranker-v2-m3

rerank COMMAND --help tells what a command reads and which options it has."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()  # here, where a reader that is gone can still be told apart
    except RerankError as error:
        print(f"rerank: {' '.join(str(error).split())}", file=sys.stderr)  # a library's words may have several lines
        return 1
    except BrokenPipeError:  # the reader has seen enough (`rerank rank ... | head`)
        _drop_output()
        return 0
    except OSError as error:  # a full disk, a directory that may not be written
        print(f"rerank: {error}", file=sys.stderr)
        _drop_output()
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _drop_output() -> None:
    """Forget what could not be written: Python would try once more at exit, and complain."""
    with suppress(OSError):  # standard output may be no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    from rerank_core.cli import evaluate, fetch, info, rank

    commands = {command.name: command for command in (rank.COMMAND, fetch.COMMAND, info.COMMAND, evaluate.COMMAND)}
    asked = arguments[0] if arguments else None
    if asked not in commands:  # other packages are imported only where they may be meant
        commands |= {entry.name: _load(entry) for entry in entry_points(group=GROUP)}
    if asked in _ELSEWHERE and asked not in commands:
        package = _ELSEWHERE[asked]
        print(f"rerank: {MissingExtra.needs(f'{asked!r} comes with {package}', package)}", file=sys.stderr)
        return 2

    parser = argparse.ArgumentParser(
        prog="rerank",
        usage="rerank [-h] [--version] COMMAND ...",
        description=_overview(commands.values()),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rerank {version('rerank-core')}")
    # Listed by the overview, below headings.
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS, prog="rerank"
    )
    for command in commands.values():
        subparser = subparsers.add_parser(command.name, description=command.help)
        command.configure(subparser)
        subparser.set_defaults(run=command.run)
    try:
        namespace = parser.parse_args(arguments)
    except SystemExit as exit_:  # argparse has said what is wrong, or has printed the help
        return int(exit_.code or 0)
    run: Callable[[argparse.Namespace], int] = namespace.run
    return run(namespace)


def _overview(commands: Iterable[Command]) -> str:
    """List the commands below what one came to do, those of packages that are not installed too."""
    lines: dict[str, dict[str, str]] = {purpose: {} for purpose in (RANK, SERVE, MODELS)}
    for command in commands:
        lines.setdefault(command.purpose, {})[command.name] = command.help
    known = {name for own in lines.values() for name in own}
    for name, package in _ELSEWHERE.items():
        if name not in known:
            lines[_PURPOSES[name]][name] = f"not installed: it comes with {package}."
    width = min(shutil.get_terminal_size().columns, _WIDTH)
    found = ["Order passages by how well they answer a query."]
    for purpose, own in lines.items():
        found += ["", f"{purpose}:"] if own else []
        for name, text in own.items():
            found += textwrap.wrap(text, width, initial_indent=f"  {name:<8} ", subsequent_indent=" " * 11)
    return "\n".join(found)


def _load(entry: EntryPoint) -> Command:
    """Load a command of another package; where that cannot be imported, one that says so."""
    try:
        command: Command = entry.load()
    except Exception as error:  # one broken package must not take the other commands along
        reason = f"its package cannot be imported ({type(error).__name__}: {error})"

        def fail(_: argparse.Namespace) -> int:
            raise MissingExtra(f"{entry.name}: {reason}")

        return Command(entry.name, f"not usable: {reason}", lambda _: None, fail)
    return command
