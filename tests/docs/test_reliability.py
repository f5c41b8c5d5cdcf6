"""Every promise of the page on reliability names a test that exists."""

import ast
import re
from pathlib import Path

PROMISE = re.compile(r"^\| (?P<promise>.+?) \| `(?P<path>[^`]+\.py)::(?P<name>\w+)` \|$", re.MULTILINE)


def test_every_promise_names_a_test_that_exists(root: Path) -> None:
    page = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| Promise")]
    found = list(PROMISE.finditer(page))

    assert len(found) == len(rows)
    missing = [f"{row['path']}::{row['name']}" for row in found if row["name"] not in names(root / row["path"])]
    assert missing == []


def names(path: Path) -> set[str]:
    """The functions of a file; none where there is no file."""
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
