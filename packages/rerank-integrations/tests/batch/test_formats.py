"""Files as people have them, scored: what is read as what, and in which form it is written again."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rerank_core.errors import EngineError, InvalidRequest
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_integrations.batch import Job, score_files
from rerank_integrations.batch.files import describe, list_tasks

Make: type = Callable[..., Any]

HEADER = ["id", "query", "document", "note"]
ROWS = [["1", "panda; or not", 'the "giant", panda', ""], ["2", "café", "two\nlines", "日本"]]


def written(separator: str, line_end: str = "\n") -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator=line_end).writerows([HEADER, *ROWS])
    return file.getvalue()


def score(path: Path, content: bytes, job: Job | None = None) -> Path:
    """Score one file; returns what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    target = path.parent.parent / "out"
    score_files(path, target, OverlapModel(), job)
    (result,) = (found for found in target.iterdir() if found.name != "_rerank.json")
    return result


@pytest.mark.parametrize(
    ("name", "separator", "line_end", "encoding", "before"),
    [
        ("a.csv", ",", "\n", "utf-8", ""),
        ("excel.csv", ";", "\r\n", "utf-8-sig", ""),
        ("excel.csv", ";", "\r\n", "utf-8-sig", "sep=;\r\n"),
        ("unicode text.csv", "\t", "\r\n", "utf-16", ""),
        ("a.tsv", "\t", "\n", "utf-8", ""),
        ("a.csv.gz", ",", "\n", "utf-8", ""),
    ],
)
def test_a_table_is_written_as_it_came_with_a_column_more(
    tmp_path: Path, name: str, separator: str, line_end: str, encoding: str, before: str
) -> None:
    content = (before + written(separator, line_end)).encode(encoding)
    is_zipped = name.endswith(".gz")

    result = score(tmp_path / "in" / name, gzip.compress(content) if is_zipped else content)

    assert result.name == name
    after = gzip.decompress(result.read_bytes()) if is_zipped else result.read_bytes()
    assert after.startswith(content[:3])
    lines = after.decode(encoding)
    assert lines.startswith(before)
    header, *rows = csv.reader(io.StringIO(lines.removeprefix(before), newline=""), delimiter=separator)
    assert header == [*HEADER, "score"]
    assert [row[:-1] for row in rows] == ROWS
    expected = [OverlapModel().score(row[1], [row[2]]).values[0] for row in ROWS]
    assert [float(row[-1]) for row in rows] == expected
    assert lines.count("\r") == (len(ROWS) + 1 + bool(before) if line_end == "\r\n" else 0)


def test_a_tsv_without_quoting_is_written_without_quoting(tmp_path: Path) -> None:
    content = b'id\tquery\tdocument\n1\tpanda\t"a panda" it said\n'

    (first, second) = score(tmp_path / "in" / "a.tsv", content).read_text().splitlines()

    assert first == "id\tquery\tdocument\tscore"
    assert second.startswith('1\tpanda\t"a panda" it said\t0.')


def test_rows_of_a_table_are_ranked_with_their_chunks(tmp_path: Path) -> None:
    lines = [f"{number},query {number // 10},{'query ' * (number % 10 + 1)}\n" for number in range(100)]

    job = Job(rerank=True, top_n=2, chunk_rows=7)
    result = score(tmp_path / "in" / "a.csv", ("id,query,document\n" + "".join(lines)).encode(), job)

    rows = list(csv.DictReader(result.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"] * 10
    assert len({row["query"] for row in rows}) == 10


def test_an_empty_cell_is_a_row_without_a_text(tmp_path: Path) -> None:
    content = b"id,query,document\n1,panda,\n2,panda,a panda\n"

    with pytest.raises(InvalidRequest, match=r"a\.csv, line 2 has no 'document'"):
        score(tmp_path / "in" / "a.csv", content)
    result = score(tmp_path / "in" / "a.csv", content, Job(on_error="skip"))
    rows = list(csv.reader(result.read_text().splitlines()))
    assert rows[1] == ["1", "panda", "", ""]
    assert float(rows[2][3]) > 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"id,query,text\n1,a,b\n", "a.csv has no column 'document': it has 'id', 'query', 'text' (--id, --query and"),
        (b"id,query,document,score\n1,a,b,2\n", "a.csv has a column 'score' already: name another with --score"),
        (b"id,query,document\n1,a,b, c\n", "a.csv, line 2 has 4 columns, and the first line 3"),
        (b"id,query,document\n1,a,caf\xe9\n", "a.csv is not UTF-8; save the file as UTF-8"),
        (
            b"id,query,document\n" + (b"1,a," + b"b" * 6000 + b"\n") * 300 + b"1,a,\xe9\n",
            "a.csv is not UTF-8; save the file as UTF-8",
        ),
        (b'id,query,document\n1,a,"b\n', "a.csv, line 2 cannot be read as CSV with commas between columns"),
        (b"", "a.csv is empty: its first line must have the names of the columns"),
    ],
)
def test_a_table_that_would_be_read_wrongly_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        score(tmp_path / "in" / "a.csv", content)

    assert complaint in str(caught.value)
    assert not (tmp_path / "out" / "a.csv").exists()


@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_json_array_is_written_as_json_lines(tmp_path: Path, ending: str, rows_of: Make) -> None:
    rows = [{"id": 1, "query": "panda", "document": "a panda", "more": {"é": None}}, {"id": "2", "query": "panda"}]
    content = json.dumps(rows, indent=1).encode()

    result = score(
        tmp_path / "in" / f"a{ending}", gzip.compress(content) if ending.endswith("gz") else content,
        Job(on_error="skip", chunk_rows=1),
    )  # fmt: skip

    assert result.name == f"a{ending}".replace("json", "jsonl")
    first, second = rows_of(result)
    assert first == rows[0] | {"score": OverlapModel().score("panda", ["a panda"]).values[0]}
    assert second == rows[1] | {"score": None}
    with pytest.raises(InvalidRequest, match="item 2 has no 'document'"):
        score_files(tmp_path / "in", tmp_path / "other", OverlapModel())


def test_json_lines_may_be_called_json(tmp_path: Path, rows: Make, jsonl: Make, rows_of: Make) -> None:
    jsonl(tmp_path / "in" / "a.json", rows(3))

    assert score_files(tmp_path / "in", tmp_path / "out", OverlapModel()).rows == 3
    assert [row["id"] for row in rows_of(tmp_path / "out" / "a.jsonl")] == [0, "r1", 2]


def save_dataset(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write what ``Dataset.save_to_disk`` does, with a cache beside it."""
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: the extra 'batch' is not installed")
    folder.mkdir(parents=True)
    table = arrow.Table.from_pylist([row | {"id": str(row["id"])} for row in rows])
    for name in ("data-00000-of-00001.arrow", "cache-1234.arrow"):
        with arrow.OSFile(str(folder / name), "wb") as file, arrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_indices_files": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_a_folder_of_datasets_is_written_as_parquet(tmp_path: Path, rows: Make, rows_of: Make) -> None:
    plain = [{name: row[name] for name in ("id", "query", "document")} for row in rows(10)]
    for split in ("train", "test"):
        save_dataset(tmp_path / "in" / split, plain)
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    summary = score_files(tmp_path / "in", tmp_path / "out", OverlapModel(), Job(chunk_rows=2))

    assert (summary.files, summary.rows) == (2, 20)
    after = rows_of(tmp_path / "out" / "train" / "data-00000-of-00001.parquet")
    expected = [OverlapModel().score(row["query"], [row["document"]]).values[0] for row in plain]
    assert [row["score"] for row in after] == expected


def test_a_column_that_is_missing_is_said_before_any_model_is_loaded(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    """Also where files of another ending come before."""
    jsonl(tmp_path / "in" / "a.jsonl", rows(1))
    (tmp_path / "in" / "b.csv").write_text("id,query\n1,panda\n")

    with pytest.raises(InvalidRequest, match=r"b\.csv has no column 'document'"):
        score_files(tmp_path / "in", tmp_path / "out", FailingScorer(EngineError("a model was loaded")))
    assert not (tmp_path / "out").exists()


def test_two_files_with_one_result_are_refused(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    for name in ("a.json", "a.jsonl"):
        jsonl(tmp_path / "in" / name, rows(1))

    with pytest.raises(InvalidRequest, match=r"would both be written to a\.jsonl"):
        score_files(tmp_path / "in", tmp_path / "out", OverlapModel())


def test_what_files_are_read_as_is_said_for_each_ending(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text(written(";"))
    jsonl(tmp_path / "in" / "c.jsonl", rows(1))

    assert describe(list_tasks(tmp_path / "in", tmp_path / "out"), Job()) == (
        "2 files (CSV with semicolons between columns), 1 file (JSON lines): id from 'id', query from 'query', "
        "document from 'document'"
    )
