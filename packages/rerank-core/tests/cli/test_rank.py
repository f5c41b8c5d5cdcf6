import io
import json
import sys

import pytest
import rerank_core
from rerank_core import EngineError, InvalidRequest, Overloaded, remote
from rerank_core.cli import main
from rerank_core.cli import rank as rank_command
from rerank_core.cli.rank import format_table
from rerank_core.testing.doubles import FailingScorer, OverlapModel

QUERY = "giant panda"
PASSAGES = "nothing of it\n\n  the giant panda  \na panda\n"


@pytest.fixture(autouse=True)
def double(monkeypatch) -> OverlapModel:
    """Loading a model gives one that counts words."""
    double = OverlapModel()
    monkeypatch.setattr(rank_command, "load", lambda _, **options: double)
    return double


@pytest.fixture
def passages(tmp_path) -> str:
    path = tmp_path / "passages.txt"
    path.write_text(PASSAGES)
    return str(path)


def stdin(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_passages_of_a_file_come_back_best_first(passages, capsys):
    assert main(["rank", QUERY, passages]) == 0

    out, err = capsys.readouterr()
    assert [line.split(maxsplit=2)[2] for line in out.splitlines()] == [
        "passage", "the giant panda", "a panda", "nothing of it",
    ]  # fmt: skip
    assert err == f"rerank: {passages} is plain text: 3 passages, each a line\n"


def test_the_table_is_aligned(passages, capsys):
    main(["rank", QUERY, passages, "--raw"])

    assert capsys.readouterr().out == (
        "rank    score  passage\n   1   2.9766  the giant panda\n   2   0.9844  a panda\n   3  -1.0234  nothing of it\n"
    )


def test_passages_come_from_standard_input(monkeypatch, capsys):
    stdin(monkeypatch, PASSAGES.encode())

    assert main(["rank", QUERY, "-", "--top-n", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("the giant panda")


def test_json_lines_out_say_rank_index_score_and_text(passages, capsys, double):
    assert main(["rank", QUERY, passages, "--json"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    values = double.score(QUERY, ["nothing of it", "the giant panda", "a panda"]).values
    assert lines == [
        {"rank": 1, "index": 1, "score": values[1], "text": "the giant panda"},
        {"rank": 2, "index": 2, "score": values[2], "text": "a panda"},
        {"rank": 3, "index": 0, "score": values[0], "text": "nothing of it"},
    ]


def test_json_lines_in_keep_what_else_they_hold(monkeypatch, capsys):
    stdin(monkeypatch, '{"text": "a panda", "id": 7, "more": ["日本"]}\n{"text": "the giant panda"}\n'.encode())

    assert main(["rank", QUERY, "-", "--json"]) == 0

    out = capsys.readouterr().out
    first, second = [json.loads(line) for line in out.splitlines()]
    assert first["document"] == {"text": "the giant panda"}
    assert second["document"] == {"text": "a panda", "id": 7, "more": ["日本"]}
    assert "日本" in out


def test_a_lone_surrogate_beside_the_text_is_written_as_it_came(monkeypatch, capsys):
    stdin(monkeypatch, rb'{"text": "a panda", "note": "\ud800"}')

    assert main(["rank", QUERY, "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["document"]["note"] == "\ud800"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_locale_that_knows_few_characters_is_no_error(monkeypatch, arguments):
    written = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", written)
    stdin(monkeypatch, "panda 大熊猫 é\n".encode())

    assert main(["rank", QUERY, "-", *arguments]) == 0
    out = written.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]
    assert r"\u5927\u718a\u732b" in out
    if arguments:
        assert json.loads(out)["text"] == "panda 大熊猫 é"


def test_raw_and_threshold_are_on_one_scale(passages, capsys):
    main(["rank", QUERY, passages, "--json", "--raw", "--threshold", "0.9"])
    raw = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    main(["rank", QUERY, passages, "--json", "--threshold", "0.9"])
    normalised = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["index"] for line in raw] == [1, 2]
    assert [line["index"] for line in normalised] == [1]


def test_an_instruction_changes_the_order_where_the_model_takes_one(passages, capsys, monkeypatch):
    takes = OverlapModel(takes_instruction=True)
    monkeypatch.setattr(rank_command, "load", lambda _, **options: takes)

    assert main(["rank", QUERY, passages, "--top-n", "1", "--instruction", "nothing of it, please"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("nothing of it")


def test_an_instruction_to_a_model_that_takes_none_is_one_line_and_code_1(passages, capsys):
    assert main(["rank", QUERY, passages, "--instruction", "be kind"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("rerank: overlap takes no instruction: leave it out")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"text": "a"}\n{"text": \n', "-, line 2 is not JSON"),
        (b'{"text": "a"}\n\nplain words\n', "-, line 3 is not JSON"),
        (b'{"text": "a"}\n{"body": "b"}\n', "-, line 2 has no 'text'"),
        (b'{"text": 7}\n', "-, line 1: 'text' is int, not a string"),
        (b'{"text": "a"}\n["text"]\n', "-, line 2 is list, not a JSON object"),
        (b'{"text": "a", "x": ' + b"[" * 100_000 + b"\n", "-, line 1 is not JSON"),
        (b"fine\nbad \xff byte\n", "- is not UTF-8: byte 9 is 0xff"),
        (b"\xef\xbb\xbfgood\xff", "- is not UTF-8: byte 7 is 0xff"),
        (b"\xff\xfea", "- is not UTF-16: byte 2 is 0x61"),
    ],
)
def test_what_is_no_passage_is_named_by_its_place(monkeypatch, capsys, content, complaint):
    stdin(monkeypatch, content)

    assert main(["rank", QUERY, "-"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"rerank: {complaint}")
    assert err.count("\n") == 1


def test_a_text_that_cannot_be_written_is_no_passage(monkeypatch, capsys):
    stdin(monkeypatch, b'{"text": "a"}\n{"text": "\\ud800"}\n')

    assert main(["rank", QUERY, "-"]) == 1
    assert "document 1 holds a lone surrogate" in capsys.readouterr().err


def test_a_byte_order_mark_is_no_part_of_a_passage(monkeypatch, capsys):
    stdin(monkeypatch, '\ufeff{"text": "a panda"}\r\n{"text": "b"}\r\n'.encode())

    assert main(["rank", QUERY, "-", "--json"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["a panda", "b"]


def test_a_missing_file_is_named(capsys, tmp_path):
    assert main(["rank", QUERY, str(tmp_path / "none.txt")]) == 1
    assert capsys.readouterr().err == f"rerank: {tmp_path / 'none.txt'} cannot be read: No such file or directory\n"


def test_a_directory_is_no_file_of_passages(capsys, tmp_path):
    assert main(["rank", QUERY, str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"rerank: {tmp_path} is a folder: name a file in it, or a folder that Dataset.save_to_disk has written\n"
    )


@pytest.mark.parametrize("content", [b"", b"\n \n"])
@pytest.mark.parametrize(("arguments", "out"), [([], "rank    score  passage\n"), (["--json"], "")])
def test_no_passages_are_an_empty_answer(monkeypatch, capsys, content, arguments, out):
    stdin(monkeypatch, content)

    assert main(["rank", QUERY, "-", *arguments]) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("wrong", [["--top-n", "0"], ["--top-n", "-3"], ["--top-n", "x"], ["--threshold", "high"]])
def test_a_wrong_number_is_code_2_before_any_model_is_loaded(monkeypatch, capsys, passages, wrong):
    monkeypatch.setattr(rank_command, "load", lambda _, **options: pytest.fail("it loaded a model"))

    assert main(["rank", QUERY, passages, *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told_before_any_model_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_command, "load", lambda _, **options: pytest.fail("it loaded a model"))

    assert main(["rank", QUERY, str(tmp_path / "none.txt")]) == 1


@pytest.mark.parametrize("error", [EngineError("out of memory"), Overloaded("no room"), InvalidRequest("too long")])
def test_an_error_is_one_line_and_code_1(monkeypatch, capsys, passages, error):
    monkeypatch.setattr(rank_command, "load", lambda _, **options: FailingScorer(error))

    assert main(["rank", QUERY, passages]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == [f"rerank: {error}"]


def test_the_model_is_the_default_unless_another_is_named(monkeypatch, passages, capsys):
    asked = []
    monkeypatch.setattr(rank_command, "load", lambda name, **options: asked.append(name) or OverlapModel())

    main(["rank", QUERY, passages])
    main(["rank", QUERY, passages, "--model", "lite"])

    assert asked == ["BAAI/bge-reranker-v2-m3", "lite"]


def test_url_without_the_integrations_names_the_package(monkeypatch, passages, capsys):
    monkeypatch.setattr(remote, "entry_points", lambda **_: [])

    assert main(["rank", QUERY, passages, "--url", "http://localhost:8000"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "rerank: --url needs rerank-integrations: install rerank-integrations (docs/install.md has the command)"
    ]


def test_url_asks_the_scorer_that_another_package_offers(monkeypatch, passages, capsys):
    class Entry:
        @staticmethod
        def load():
            return lambda url: OverlapModel(name=url)

    monkeypatch.setattr(
        remote,
        "entry_points",
        lambda *, group, name: [Entry] if (group, name) == ("rerank.scorers", "http") else [],
    )
    monkeypatch.setattr(rank_command, "load", lambda _, **options: pytest.fail("it loaded a model"))

    assert main(["rank", QUERY, passages, "--url", "http://localhost:8000"]) == 0
    assert "the giant panda" in capsys.readouterr().out


def test_a_query_that_is_no_text_is_refused(passages, capsys):
    """What a shell hands over where the bytes are not UTF-8."""
    assert main(["rank", "caf\udce9", passages]) == 1
    assert "the query holds a lone surrogate" in capsys.readouterr().err


# ---------------------------------------------------------------------------- in a terminal


def test_a_terminal_gets_one_aligned_line_a_passage():
    table = format_table([(0.98, "short  and\nbroken"), (0.5, "long " * 40), (-11.5, "unbroken" * 40)], 60)

    lines = table.splitlines()
    assert lines[:2] == ["rank    score  passage", "   1   0.9800  short and broken"]
    assert [len(line) for line in lines[2:]] == [60, 60]
    assert all(line.endswith("...") for line in lines[2:])
    assert lines[2].startswith("   2   0.5000  long long")
    assert lines[3].startswith("   3  -11.5000  unbroken")


def test_what_is_not_a_terminal_gets_whole_passages():
    assert format_table([(0.5, "long " * 400)], None).endswith("long " * 399 + "long")


# ---------------------------------------------------------------------------- the whole way


def test_the_real_command_ranks_with_a_real_model(fresh_python, rerank_program, tiny):
    done = fresh_python(
        rerank_program, "rank", "a panda", "-", "--model", str(tiny("bert")), "--json",
        stdin="bamboo\nchina 日本\n",
    )  # fmt: skip

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    golden = rerank_core.rerank(rerank_core.load(str(tiny("bert"))), "a panda", ["bamboo", "china 日本"])
    assert (done.returncode, done.stderr) == (0, "rerank: standard input is plain text: 2 passages, each a line\n")
    assert [(line["index"], line["score"]) for line in lines] == [(d.index, d.score) for d in golden]


def test_a_line_of_the_table_fits_the_columns_of_a_terminal_in_any_script():
    """A Chinese character takes two columns, a combining accent none."""
    table = format_table([(0.5, "大熊猫生活在中国的山区" * 5), (0.25, "e\u0301" * 60), (0.1, "plain " * 30)], 40)

    _, chinese, accents, plain = table.splitlines()
    assert chinese == "   1   0.5000  大熊猫生活在中国的山区..."
    assert accents == "   2   0.2500  " + "e\u0301" * 22 + "..."
    assert len(plain) == 40


def test_a_long_passage_is_scored_whole_and_shown_as_far_as_it_won(fresh_python, rerank_program):
    filler = "The train leaves the old station at noon. "
    passage = filler * 80 + "The giant panda lives in China. " + filler * 80
    asked = [
        rerank_program,
        "rank",
        "where does the giant panda live",
        "-",
        "--model",
        "lite",
        "--long-documents",
        "chunk",
    ]

    as_json = fresh_python(*asked, "--json", stdin=passage + "\nshort\n")
    table = fresh_python(*asked, stdin=passage + "\nshort\n")

    best, short = (json.loads(line) for line in as_json.stdout.splitlines())
    start, end = best["span"]
    assert "The giant panda lives in China." in passage[start:end]
    assert short["span"] == [0, 5]
    assert f"[{start}:{end}] " in table.stdout


def test_the_table_shows_the_best_sentence_and_json_has_the_best_ones(tmp_path, capsys):
    path = tmp_path / "passages.txt"
    path.write_text("It rains. The giant panda eats. Snow falls.\nnothing\n")

    assert main(["rank", QUERY, str(path), "--highlight", "sentences", "--top-n", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  [10:31] The giant panda eats.")

    assert main(["rank", QUERY, str(path), "--highlight", "sentences", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [[line["text"][start:end] for start, end, _ in line["sentences"]] for line in lines] == [
        ["The giant panda eats.", "It rains.", "Snow falls."],
        ["nothing"],
    ]
