"""How fast does ``rerank batch`` score a data set, alone and on Ray? Is its memory bounded? See README.md.

Makes rows, scores them with the command itself, and checks that every row came back once, and both ways with the same
bytes.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe
from markdown_tables import table
from results import settings_of, write_results

_COMMAND = (sys.executable, "-c", "import sys; from rerank_core.cli import main; sys.exit(main(sys.argv[1:]))", "batch")
# One token each, in the vocabulary of the model lite.
_WORDS = """
    the of and in to was for on with by at from his an were are which this also be or had its not first their after
    new who they two her she been other when time during there into school more may years over only year most would
    world city some where between later up such used many can state about national out known university united then
"""
_QUERY_WORDS = 6
_LONGEST = 32  # tokens of a pair, special ones included
_PER_QUERY = 20


def write_rows(folder: Path, rows: int, files: int, seed: int = 7) -> None:
    """JSON lines: 20 rows a query, 12 to 32 tokens a pair."""
    chance = random.Random(seed)
    words = _WORDS.split()
    folder.mkdir()
    query = ""
    outputs = [(folder / f"part-{number:03}.jsonl").open("w") for number in range(files)]
    per_file = -(-rows // files)
    for row in range(rows):
        if row % _PER_QUERY == 0:
            query = " ".join(chance.choices(words, k=_QUERY_WORDS))
        length = chance.randint(2, _LONGEST - _QUERY_WORDS - 4)  # CLS and SEP of either side
        document = " ".join(chance.choices(words, k=length))
        outputs[row // per_file].write(json.dumps({"id": row, "query": query, "document": document}) + "\n")
    for output in outputs:
        output.close()


def measure(source: Path, target: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """One run of the command: seconds by the wall, and the most memory that its own process had, in MB."""
    began = time.monotonic()
    process = subprocess.Popen([*_COMMAND, str(source), str(target), *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the command ended with {os.waitstatus_to_exitcode(status)}")
    print(f"{' '.join(arguments)}: {said}", file=sys.stderr)
    return {"seconds": time.monotonic() - began, "most_mb": usage.ru_maxrss * 1024 / 1e6, "said": said}


def check(target: Path, rows: int) -> None:
    """Every row is there once."""
    ids = [json.loads(line)["id"] for path in sorted(target.glob("*.jsonl")) for line in path.open()]
    assert ids == list(range(rows)), "rows are missing, or there twice"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="rerank-batch-") as directory:
        folder = Path(directory)
        for name, rows in (("a tenth of the rows", arguments.rows // 10), ("one process", arguments.rows)):
            write_rows(folder / f"in {name}", rows, arguments.files)
            found[name] = measure(folder / f"in {name}", folder / name, ["--model", arguments.model])
            found[name]["rows"] = rows
            check(folder / name, rows)
        if not arguments.without_ray:
            name = "Ray, an actor a core"
            source = folder / "in one process"
            found[name] = measure(source, folder / name, ["--model", arguments.model, "--ray", "local"])
            found[name]["rows"] = arguments.rows
            check(folder / name, arguments.rows)
            names = [path.name for path in source.iterdir()]
            _, different, missing = filecmp.cmpfiles(folder / "one process", folder / name, names, shallow=False)
            assert not different, f"not the same scores: {different}"
            assert not missing, f"not there: {missing}"

    cells = [
        [
            name,
            f"{one['rows']:,}",
            f"{one['seconds']:.0f}",
            f"{one['rows'] / one['seconds']:.0f}",
            f"{one['most_mb']:.0f}",
        ]
        for name, one in found.items()
    ]
    print(table(["", "rows", "seconds", "rows/s", "most MB of the command"], cells))
    if arguments.json:
        write_results(arguments.json, describe(), settings_of(arguments), runs=found)


if __name__ == "__main__":
    main()
