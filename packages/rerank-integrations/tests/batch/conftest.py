"""Data sets, and who scores them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = "panda bamboo china river bear market london python data library train".split()  # noqa: SIM905


def make_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows that differ; ten of a query stand together."""
    return [
        {
            "id": f"r{number}" if number % 2 else number,
            "query": f"{WORDS[number // 10 % 11]} and {WORDS[number // 110 % 11]} {number // 10}",
            "document": " ".join(WORDS[(number * step + step) % 11] for step in range(1, 4 + number % 5)),
            "more": [number, None, {"é": number / 7}],
        }
        for number in range(first, first + count)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Ids are strings here: a column has one type."""
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: the extra 'batch' is not installed")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(
        arrow.table(
            {
                "id": [str(row["id"]) for row in rows],
                "query": arrow.array([row["query"] for row in rows], arrow.string()).dictionary_encode(),
                "document": arrow.array([row["document"] for row in rows], arrow.large_string()),
                "more": [row["more"][0] for row in rows],
            }
        ),
        path,
        row_group_size=1000,
    )
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()]


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    return make_rows


@pytest.fixture
def jsonl() -> Callable[[Path, list[dict[str, Any]]], Path]:
    return write_jsonl


@pytest.fixture
def parquet() -> Callable[[Path, list[dict[str, Any]]], Path]:
    return write_parquet


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, Any]]]:
    """What a file holds."""
    return read
