"""Files as people have them: each is read as what it is, or refused with the way out, and the first line says so."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rerank_core.cli import main
from rerank_core.cli import rank as rank_command
from rerank_core.testing.doubles import OverlapModel

QUERY = "giant panda"
BEST, OTHER = "the giant panda", "a train; from Paris, café"


@pytest.fixture(autouse=True)
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_command, "load", lambda _, **options: OverlapModel())


Ranked = tuple[list[dict[str, object]], str]


@pytest.fixture
def rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ranked]:
    """Ranks a file of this name and content, and returns the lines of the answer and what standard error says."""

    def run(name: str, content: bytes | str, *options: str) -> Ranked:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code = main(["rank", QUERY, str(path), "--json", *options])
        out, err = capsys.readouterr()
        assert code == (0 if out else 1)
        return [json.loads(line) for line in out.splitlines()], err.replace(f"{tmp_path}/", "")

    return run


def texts(ranked: list[dict[str, object]]) -> list[object]:
    return [line["text"] for line in ranked]


def parquet(rows: list[dict[str, object]]) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: pyarrow is not installed")
    from pyarrow import parquet as files

    sink = io.BytesIO()
    files.write_table(arrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


ROWS = [{"id": "7", "text": OTHER}, {"id": "8", "text": BEST}]
COMMAS = f'id,text\n7,"{OTHER}"\n8,{BEST}\n'
EXCEL = f'id;text\r\n7;"{OTHER}"\r\n8;{BEST}\r\n'
TABS = f"id\ttext\n7\t{OTHER}\n8\t{BEST}\n"
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", COMMAS, "CSV with commas between columns"),
        ("a.csv", "\ufeff" + EXCEL, "CSV with semicolons between columns"),
        ("a.csv", "sep=;\r\n" + EXCEL, "CSV with semicolons between columns"),
        ("a.csv.gz", gzip.compress(COMMAS.encode(), mtime=0), "CSV with commas between columns"),
        ("a.tsv", TABS, "TSV with tabs between columns"),
        ("unicode text.csv", TABS.encode("utf-16"), "TSV with tabs between columns"),
        ("a.json", json.dumps(ROWS, indent=2), "a JSON array"),
        ("a.json", LINES, "JSON lines"),
        ("a.jsonl", LINES, "JSON lines"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0), "JSON lines"),
        ("no-ending", json.dumps(ROWS), "a JSON array"),
        ("no-ending", LINES, "JSON lines"),
    ],
)
def test_a_table_is_read_as_what_it_is_and_the_first_line_says_so(
    rank: Callable[..., Ranked], name: str, content: bytes | str, said: str
) -> None:
    ranked, err = rank(name, content, "--id-column", "id")

    assert [(line["id"], line["text"]) for line in ranked] == [("8", BEST), ("7", OTHER)]
    assert err == f"rerank: {name} is {said}: 2 passages from 'text', ids from 'id'\n"


@pytest.mark.parametrize("name", ["a.parquet", "no-ending"])
def test_parquet_keeps_its_types(rank: Callable[..., Ranked], name: str) -> None:
    ranked, err = rank(name, parquet([{"n": 1.5, "text": OTHER}, {"n": 2.5, "text": BEST}]))

    assert ranked[0]["document"] == {"n": 2.5, "text": BEST}
    assert err == f"rerank: {name} is Parquet: 2 passages from 'text'; not read: 'n'\n"


def save_dataset(folder: Path, texts: list[str]) -> None:
    """Write what ``Dataset.save_to_disk`` does: Arrow streams, and their list."""
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: pyarrow is not installed")
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(texts):05}.arrow" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        table = arrow.table({"text": [text]})
        with arrow.OSFile(str(folder / name), "wb") as file, arrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    files = [{"filename": name} for name in names]
    (folder / "state.json").write_text(json.dumps({"_data_files": files, "_indices_files": None}))
    (folder / "dataset_info.json").write_text("{}")


def test_a_folder_of_datasets_is_read_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_dataset(tmp_path / "saved", [OTHER, BEST])

    assert main(["rank", QUERY, str(tmp_path / "saved"), "--json"]) == 0

    out, err = capsys.readouterr()
    assert [json.loads(line)["index"] for line in out.splitlines()] == [1, 0]
    assert err == f"rerank: {tmp_path / 'saved'} is a folder of datasets: 2 passages from 'text'\n"


def test_of_several_splits_one_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_dataset(tmp_path / "saved" / "train", [BEST])
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    assert main(["rank", QUERY, str(tmp_path / "saved")]) == 1
    assert f"holds the splits train, test: name one, {tmp_path / 'saved' / 'train'}" in capsys.readouterr().err
    assert main(["rank", QUERY, str(tmp_path / "saved" / "train")]) == 0


@pytest.mark.parametrize("name", ["text", "passage", "Document", "content", "body"])
def test_the_usual_names_of_the_column_are_known(rank: Callable[..., Ranked], name: str) -> None:
    assert texts(rank("a.csv", f"{name},more\n{BEST},1\n")[0]) == [BEST]


def test_another_column_is_named(rank: Callable[..., Ranked]) -> None:
    ranked, err = rank("a.csv", f"text,answer\nx,{BEST}\n", "--column", "answer")

    assert texts(ranked) == [BEST]
    assert err.endswith("1 passage from 'answer'; not read: 'text'\n")


def test_columns_without_a_header_are_named_by_their_numbers(rank: Callable[..., Ranked]) -> None:
    """As in MS MARCO's collection.tsv."""
    ranked, err = rank("a.tsv", f"1\t{OTHER}\n2\t{BEST}\n", "--column", "2", "--id-column", "1")

    assert [(line["id"], line["text"]) for line in ranked] == [("2", BEST), ("1", OTHER)]
    assert "TSV with tabs between columns and no header: 2 passages from '2', ids from '1'" in err


def test_a_column_may_be_called_by_a_number(rank: Callable[..., Ranked]) -> None:
    assert texts(rank("a.csv", f"0,1\n{BEST},other\n", "--column", "0")[0]) == [BEST]


@pytest.mark.parametrize("text", ['"quoted" at its beginning', '"', 'a 5" disc', '"all of it"'])
def test_quotation_marks_of_a_tsv_without_quoting_are_part_of_the_text(rank: Callable[..., Ranked], text: str) -> None:
    assert set(texts(rank("a.tsv", f"id\ttext\n1\t{text}\n2\tb\n")[0])) >= {"b"}
    assert len(rank("a.tsv", f"id\ttext\n1\t{text}\n2\tb\n")[0]) == 2


def test_a_tsv_with_quoting_is_unquoted(rank: Callable[..., Ranked]) -> None:
    assert texts(rank("a.tsv", 'id\ttext\n1\t"the ""giant""\tpanda"\n')[0]) == ['the "giant"\tpanda']


def test_a_json_array_of_strings_is_passages(rank: Callable[..., Ranked]) -> None:
    ranked, err = rank("a.json", json.dumps([OTHER, BEST]))

    assert texts(ranked) == [BEST, OTHER]
    assert "document" not in ranked[0]
    assert err == "rerank: a.json is a JSON array: 2 passages, each a string\n"


def test_plain_text_may_begin_like_json(rank: Callable[..., Ranked]) -> None:
    ranked, err = rank("a.txt", "[1] the giant panda\n[2] a train\n")

    assert texts(ranked) == ["[1] the giant panda", "[2] a train"]
    assert err == "rerank: a.txt is plain text: 2 passages, each a line\n"


def test_a_long_passage_of_a_csv_is_read_whole(rank: Callable[..., Ranked]) -> None:
    text = "panda " * 50_000

    assert texts(rank("a.csv", f"text,x\n{text},1\n")[0]) == [text]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        # What would be read as something else.
        ("a.txt", "1\tsee there\n2\tsee here\n", "a.txt has 2 columns between tabs, and no ending that says so: name"),
        ("a.txt", "id,text\n1,see here\n", "a.txt begins like a table (2 columns with ',' between them)"),
        ("a.csv", "id,text\n1,hello, you\n", "a.csv, line 2 has 3 columns, and the first line 2, read as CSV with com"),
        ("a.csv", 'id,text\n1,"hello" you\n', "a.csv, line 2 cannot be read as CSV with commas between columns"),
        ("a.csv", 'id,text\n1,a\n2,"hello\n', "a.csv, line 3 cannot be read as CSV with commas between columns"),
        ("a.csv", "text,text\na,b\n", "a.csv has two columns 'text': give each its own name"),
        (
            "a.csv",
            "id;text\n1;café\n".encode("cp1252"),
            "not UTF-8: byte 13 is 0xe9; save the file as UTF-8",
        ),
        # What has no such column, or several.
        ("a.csv", "id,answer\n1,a\n", "a.csv has the columns 'id', 'answer', none of them 'text': name that of the"),
        (
            "a.tsv",
            "1\tit is a long text\n",
            "has the columns '1', (a text), none of them 'text': name",
        ),
        ("a.jsonl", '{"passage": "a", "document": "b"}\n', "'passage', 'document', which may all be meant: name that"),
        (
            "a.json",
            '{"data": [{"text": "a"}]}',
            "a.json has one column, 'data': name that of the",
        ),
        ("a.csv", "id,text\n1,\n", "a.csv, line 2 has no 'text': fill it in, or take the row out"),
        ("a.json", '[{"text": "a"}, "b"]', "a.json, item 2 is str, not a JSON object"),
        ("a.json", '["a", {"text": "b"}]', "a.json, item 2 is dict, not a string, as the first is"),
        # What holds no rows.
        ("a.csv", b"PK\x03\x04\0", "a.csv is an Excel workbook or another zip archive: save the sheet as 'CSV UTF-8'"),
        ("a.pdf", b"%PDF-1.7\n", "a.pdf is a PDF document: extract its text first"),
        ("a.bin", b"\x00\x01", "a.bin is neither text nor Parquet"),
        ("a.parquet", b"id,text", "a.parquet is not Parquet: it does not begin with PAR1"),
        ("a.json", '[{"text": "a"}', "a.json is not a whole JSON array"),
        ("a.json", '{\n "text": "a"\n}', "a.json, line 1 is not JSON"),
        ("a.csv.gz", gzip.compress(b"text\na\n", mtime=0)[:-4], "a.csv.gz is not a whole gzip file"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_with_the_way_out(
    rank: Callable[..., Ranked], name: str, content: bytes | str, complaint: str
) -> None:
    ranked, err = rank(name, content)

    assert ranked == []
    assert err.startswith("rerank: ")
    assert complaint in err
    assert err.count("\n") == 1


def test_a_table_without_rows_has_no_passages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("id,text\n")

    assert main(["rank", QUERY, str(tmp_path / "a.csv"), "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_the_format_may_be_named(rank: Callable[..., Ranked]) -> None:
    assert texts(rank("a.txt", f"id,text\n1,{BEST}\n", "--format", "csv")[0]) == [BEST]
    assert texts(rank("a.csv", "id,text\n1,b\n", "--format", "text")[0]) == ["id,text", "1,b"]


def test_a_column_of_plain_text_is_refused(rank: Callable[..., Ranked]) -> None:
    assert "a.txt is plain text, which has no columns: leave 'text' out" in rank("a.txt", "a\n", "--column", "text")[1]


def test_a_column_that_is_not_there_names_those_that_are(rank: Callable[..., Ranked]) -> None:
    assert "a.csv has no column 'key': it has 'id', 'text'" in rank("a.csv", COMMAS, "--id-column", "key")[1]


def test_ids_stand_beside_the_passages_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(f"id,text\n日本,{BEST}\nlonger,a train\n")

    assert main(["rank", QUERY, str(tmp_path / "a.csv"), "--id-column", "id", "--raw"]) == 0

    assert capsys.readouterr().out == (
        "rank    score  id      passage\n   1   2.9766  日本    the giant panda\n   2  -1.0156  longer  a train\n"
    )


def test_without_pyarrow_parquet_names_the_extra(rank: Callable[..., Ranked], monkeypatch: pytest.MonkeyPatch) -> None:
    content = parquet([{"text": BEST}])
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    ranked, err = rank("a.parquet", content)

    assert ranked == []
    assert err == (
        "rerank: Parquet and Arrow files need pyarrow: install rerank-core[parquet] (docs/install.md has the command)\n"
    )
