"""Runs other services' clients against real servers, and writes how they got on.

One command, `make test-clients`. Each group of clients has an environment of its own, made once under
``.environments``, and one script in ``groups`` that is run there, or that runs others there by node. Exit status 1: a
client that ran did not behave as expected. What could not be installed is a row "not run", and no failure.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import rerank_core
from environments import NotInstalled, folder_of, interpreter
from front import RETRY_AFTER, front
from groups.cases import CASES, INSTRUCTION, Seen, There
from listed import GROUPS, Group
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions
from servers import MODEL, NotStarted, full_server, instructed_server, server
from table import Row, dump, read, rows

_HERE = Path(__file__).parent
_LIMIT = 300.0  # seconds that a group may take
_AT_ONCE = 2
KEY = "the-key-of-the-clients"

QUERY = "What is a giant panda?"
DOCUMENTS = (
    "Paris is the capital of France and lies on the Seine.",
    "pandas is a Python library for data analysis.",
    "The giant panda is a bear that lives in the mountains of China.",
    "Pandas eat bamboo for most of the day.",
    "A red panda is smaller than a giant panda, and is not a bear.",
    "The stock market fell on Tuesday.",
)
INSTRUCTION_TEXT = "Prefer what a library can do for data analysis."

# No client of ours looks for this machine behind a proxy, tells its makers, or fetches a list of prices.
_DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "NVIDIA_USAGE_TELEMETRY_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def main() -> int:
    """Run the groups, say how they went, and write the results."""
    arguments = _arguments()
    groups = [group for group in GROUPS if group.name in (arguments.only or [group.name])]
    if arguments.list:
        for row in (row for group in groups for row in rows(group)):
            print(f"| {row.listed.name} | {row.version} |")
        return 0
    os.environ.update(_DIRECT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does, it stops the servers too
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _servers(Path(folder)) as (there, full), ThreadPoolExecutor(_AT_ONCE) as pool:
                found = [row for each in pool.map(lambda group: _run(group, there, full), groups) for row in each]
        except NotStarted as problem:
            print(f"a server did not start: {problem}", file=sys.stderr)
            return 2
    if arguments.results:
        arguments.results.write_text(dump(found), encoding="utf-8")
    return _report(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [group.name for group in GROUPS]
    parser.add_argument("--only", action="append", choices=names, help="a group; may be given more than once")
    parser.add_argument("--results", type=Path, help="the JSON file to write, which table.py makes its pages from")
    parser.add_argument("--list", action="store_true", help="name the clients and their versions, and run none")
    return parser.parse_args()


# ---------------------------------------------------------------------------- what they run against


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[There, str]]:
    """What the clients ask, and the full server's address, which each group has a front of its own for."""
    with ExitStack() as stack:
        keyed = stack.enter_context(server(folder / "keyed.log", RERANK_API_KEYS=KEY))
        strict = stack.enter_context(server(folder / "strict.log", RERANK_STRICT_MODEL="true"))
        full = stack.enter_context(full_server(folder))
        instructed = stack.enter_context(instructed_server(folder / "instructed.log"))
        model = rerank_core.load(MODEL)
        yield (
            There(
                strict=strict,
                keyed=keyed,
                full="",
                key=KEY,
                model=MODEL,
                query=QUERY,
                documents=list(DOCUMENTS),
                scores=list(model.score(QUERY, DOCUMENTS).values),
                logits=list(model.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values),
                retry_after=RETRY_AFTER,
                instructed=instructed,
                instruction=INSTRUCTION_TEXT,
                instructed_scores=_instructed(),
            ),
            full,
        )


def _instructed() -> list[float]:
    """The scores of the model that takes an instruction, with ours."""
    model, options = OverlapModel(takes_instruction=True), ScoreOptions(instruction=INSTRUCTION_TEXT)
    return list(model.score(QUERY, DOCUMENTS, options).values)


# ---------------------------------------------------------------------------- one group


def _run(group: Group, there: There, full: str) -> list[Row]:
    """The rows of a group's clients."""
    found = rows(group)
    try:
        python = interpreter(group)
    except NotInstalled as problem:
        for row in found:
            row.not_run, row.why = str(problem), problem.told
        return found
    with front(full=full, ready=there.strict) as between:
        asked = asdict(there) | {"full": between.url}
        end = _fill(found, [python, str(_HERE / "groups" / group.script)], asked, folder_of(group.name))
    for row in found:
        for case in CASES:
            if case != INSTRUCTION:  # not every client can send one
                row.seen.setdefault(case, Seen(False, "nothing was heard of it", end))
    return found


def _fill(found: Sequence[Row], command: list[str], there: dict[str, object], folder: Path) -> str:
    """Put what a group's script says into its rows; what it complained of last, where it said too little."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    environment = (
        kept
        | _DIRECT
        | _QUIET
        | {
            "CLIENTS_THERE": json.dumps(there),
            "CLIENTS_ENVIRONMENT": str(folder),
        }
    )
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        environment |= {"HOME": home, "XDG_CACHE_HOME": home}  # what a client writes there is not for this machine
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment, encoding="utf-8", cwd=home
        )
        try:
            output, _ = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            said.write(f"\nit was not done in {_LIMIT:.0f} s")
        said.seek(0, os.SEEK_SET)
        complaint = said.read()
    by_name = {row.listed.name: row for row in found}
    for line in output.splitlines():
        name, version, case, seen = read(json.loads(line))
        row = by_name[name]
        row.version = row.version if version == "-" else version
        row.seen[case] = seen
    return f"status {process.returncode}: {complaint[-2000:]}"


# ---------------------------------------------------------------------------- what is said of it


def _report(found: Sequence[Row]) -> int:
    failed = [row for row in found if row.failed]
    not_run = [row for row in found if row.not_run is not None]
    for row in found:
        verdict = "not run" if row.not_run is not None else "FAILED" if row.failed else "ok"
        print(f"{verdict:8}{row.listed.name} {row.version}")
    for row in failed:
        for case in CASES:
            if case in row.seen and row.seen[case].ok is False:
                print(f"\n{row.listed.name}, {case}: {row.seen[case].shows}\n    {row.seen[case].detail}")
    for row in not_run:
        print(f"SKIPPED LOUDLY: {row.listed.name}: {row.not_run}\n{textwrap.indent(row.why, '    ')}")
    print(f"\n{len(found) - len(failed) - len(not_run)} as expected, {len(failed)} failed, {len(not_run)} not run")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
