import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from rerank_core.cli import evaluate as command
from rerank_core.cli import main

TEXTS = {"d1": "the giant panda is a bear", "d2": "paris is the capital of france", "d3": "bamboo"}
QUERIES = {"q1": "giant panda", "q2": "capital of france"}


@pytest.fixture
def data(tmp_path) -> Path:
    """A collection in BEIR's layout."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", TEXTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": identity, "text": text}) for identity, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    judgements = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq1\td3\t0\nq2\td2\t1\nq2\td1\t0\n"
    (folder / "qrels" / "test.tsv").write_text(judgements)
    return folder


@pytest.fixture
def rerank_eval(rerank_program, tmp_path):
    """Runs ``rerank eval`` from outside, with a cache of the test's own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [rerank_program, "eval", *map(str, arguments), "--device", "cpu", "--threads", "1"],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            timeout=110,
            check=False,
        )

    return run


def test_systems_are_compared_and_a_second_run_asks_only_what_is_new(data, rerank_eval, tiny, tmp_path):
    first = rerank_eval(data, "--model", tiny("bert"))
    assert first.returncode == 0, first.stderr
    said = first.stderr.splitlines()
    assert said[0] == (
        "rerank: small: documents from corpus.jsonl (JSON lines; id '_id', text 'text'), queries from queries.jsonl "
        "(JSON lines; id '_id', text 'text'), judgements from qrels/test.tsv (query, document, grade), "
        "candidates from BM25"
    )
    assert said[1:] == ["2 queries to ask, all systems together"]

    report, figures = tmp_path / "report.html", tmp_path / "out" / "figures.json"
    second = rerank_eval(
        data, "--model", tiny("bert"), "--model", tiny("bert", "bi-encoder"), "--json", figures, "--html", report
    )

    assert second.returncode == 0, second.stderr
    assert second.stderr == first.stderr
    rows = [line.split("|")[1].strip() for line in second.stdout.splitlines() if line.startswith("| ")]
    assert rows[2:] == ["BM25", tiny("bert").name, tiny("bert", "bi-encoder").name]
    content = json.loads(figures.read_text())
    assert [row["label"] for row in content["rows"]] == rows[2:]
    assert content["rows"][1]["loaded"]["engine"] == "packed"
    assert report.read_text().startswith("<!doctype html>")
    assert content["provenance"]["command"].startswith(f"rerank eval {data} --model {tiny('bert')} --model ")
    assert content["provenance"]["versions"]["rerank-core"] == version("rerank-core")
    assert "panda" not in second.stdout + report.read_text() + figures.read_text()


def test_a_calibration_is_written_and_read_again(data, rerank_eval, tiny, tiny_model, tmp_path):
    """The judgements are after the random model's own taste, so that its scores mean something."""
    scores = {query: tiny_model("bert").score(text, list(TEXTS.values())).values for query, text in QUERIES.items()}
    lines = [
        f"{query}\t{document}\t{int(value == max(own))}\n"
        for query, own in scores.items()
        for document, value in zip(TEXTS, own, strict=True)
    ]
    (data / "qrels" / "test.tsv").write_text("".join(lines))
    candidates = [json.dumps({"query_id": query, "candidates": list(TEXTS)}) for query in QUERIES]
    (data / "candidates.jsonl").write_text("\n".join(candidates))
    file = tmp_path / "platt.json"

    done = rerank_eval(data, "--model", tiny("bert"), "--calibrate", file)

    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text())
    assert (content["pairs"], content["relevant"], content["unjudged"], content["data"]) == (6, 2, 0, "small")
    assert content["model"] == str(tiny("bert"))
    assert content["fingerprint"] == tiny_model("bert").fingerprint()
    assert done.stdout.splitlines()[-1].startswith(f"Calibrated: a {content['a']:.4f}, b {content['b']:+.4f}, from 6 ")


def test_a_system_that_fails_is_said_below_the_others_and_is_code_1(data, rerank_eval, tiny):
    done = rerank_eval(data, "--model", tiny("bert"), "--max-length", 64, "--max-length", 4096)

    assert done.returncode == 1
    assert f"{tiny('bert').name} 4096 tokens FAILED: max_length=4096" in done.stdout
    assert f"| {tiny('bert').name} 64 tokens" in done.stdout


def test_rankings_are_written_as_trec_runs_which_are_read_as_candidates(data, rerank_eval, tiny, tmp_path):
    candidates = [json.dumps({"query_id": query, "candidates": list(TEXTS)}) for query in QUERIES]
    (data / "candidates.jsonl").write_text("\n".join(candidates))
    model = tiny("bert")
    done = rerank_eval(data, "--model", model, "--max-length", 64, "--max-length", 32, "--runs", tmp_path / "runs")

    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert files == [f"{model.name}-32-tokens.run", f"{model.name}-64-tokens.run"]
    run = tmp_path / "runs" / files[1]
    lines = [line.split(" ") for line in run.read_text().splitlines()]
    assert [(line[0], line[1], line[3], line[5]) for line in lines[:2]] == [
        ("q1", "Q0", str(rank), f"{model.name}-64-tokens") for rank in (1, 2)
    ]
    scores = [float(line[4]) for line in lines if line[0] == "q1"]
    assert scores == sorted(scores, reverse=True)

    again = rerank_eval(data, "--model", model, "--max-length", 64, "--candidates", run)

    assert again.returncode == 0, again.stderr
    figures = {line.split("|")[1].strip(): line.split("|")[2] for line in again.stdout.splitlines() if "|" in line}
    assert figures["as given"] == figures[f"{model.name} 64 tokens"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--dtype", "int9"], "dtype is 'int9': use one of"),
        (["--long-documents", "burn"], "long_documents is 'burn': use one of"),
        (["--model", "./not/here/at/all"], "there is no directory ./not/here/at/all"),
        (["--split", "dev"], "has no dev.tsv: there are test"),
        (["--candidates", "nowhere.jsonl"], "nowhere.jsonl cannot be read: No such file or directory"),
        (["--model", "a", "--model", "b", "--calibrate", "f"], "this would compare 2 systems"),
        (["--url", "http://nowhere", "--calibrate", "f"], "this would compare 1 systems, a server among them"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_1(data, tmp_path, capsys, arguments, complaint):
    assert main(["eval", str(data), "--cache", str(tmp_path / "cache"), *arguments]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    *read, last = err.splitlines()
    assert last.startswith("rerank: ")
    assert complaint in last
    assert [line for line in read if not line.startswith("rerank: small: documents from")] == []


def test_a_password_in_an_address_is_not_kept(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rerank", "eval", "data", "--url", "http://user:secret@host:8000/path"])

    assert command._provenance(models=False).command == "rerank eval data --url http://host:8000/path"


def test_a_number_that_is_none_is_code_2(data, capsys):
    assert main(["eval", str(data), "--queries", "0"]) == 2
    assert "0 is not at least 1" in capsys.readouterr().err


def test_a_library_that_is_not_there_names_the_extra(data, capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "bm25s" else object())

    assert main(["eval", str(data)]) == 1
    assert capsys.readouterr().err == (
        "rerank: rerank eval needs bm25s: install rerank-core[eval] (docs/install.md has the command)\n"
    )


def test_the_help_says_what_each_option_is(capsys):
    assert main(["eval", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--model", "--dtype", "--max-length", "--long-documents", "--url"))


def test_the_page_about_it_names_every_option():
    page = Path(__file__).parents[4] / "docs" / "evaluation.md"
    if not page.is_file():
        pytest.skip("SKIPPED LOUDLY: needs docs/evaluation.md of the repository: it is not there")
    parser = argparse.ArgumentParser(add_help=False)
    command.COMMAND.configure(parser)

    options = [option for action in parser._actions for option in action.option_strings]

    assert [option for option in options if f"`{option}" not in page.read_text(encoding="utf-8")] == []
