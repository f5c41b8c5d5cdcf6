import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import rerank_core
from rerank_core import ScoreOptions
from rerank_core.errors import InvalidRequest
from rerank_core.load_options import LoadOptions
from rerank_core.pairs import score_by_query
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Pair, Scores
from rerank_integrations.batch.command import COMMAND

Make: type = Callable[..., Any]


def batch(*arguments: object) -> int:
    parser = argparse.ArgumentParser(exit_on_error=False)
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args([str(argument) for argument in arguments]))


def test_a_data_set_is_scored_and_one_line_says_so(
    tmp_path: Path, rows: Make, parquet: Make, rows_of: Make, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = parquet(tmp_path / "in" / "a.parquet", rows(40))

    assert batch(source, tmp_path / "out", "--model", checkpoint, "--top-n", 2, "--raw", "--score", "how well") == 0

    out, err = capsys.readouterr()
    assert out.startswith("40 rows of 1 files, 0 of them without a score, in ")
    # No terminal, no bar.
    assert err == "rerank: 1 file (Parquet): id from 'id', query from 'query', document from 'document'\n"
    after = rows_of(tmp_path / "out" / "a.parquet")
    assert [row["rank"] for row in after] == [1, 2] * 4
    assert all(first["how well"] >= second["how well"] for first, second in zip(after[::2], after[1::2], strict=True))


@pytest.mark.parametrize("name", [option.name for option in fields(LoadOptions)])
def test_each_option_of_loading_is_an_argument(name: str) -> None:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)

    assert f"--{name.replace('_', '-')}" in parser.format_help().split()


def test_options_of_loading_reach_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jsonl: Make) -> None:
    asked: dict[str, Any] = {}

    class Loaded(OverlapModel):
        def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
            return score_by_query(self, pairs, options)

    def load(model: str, **options: Any) -> Loaded:
        asked.update(options)
        return Loaded()

    monkeypatch.setattr("rerank_core.loading.load", load)
    source = jsonl(tmp_path / "a.jsonl", [{"id": 1, "query": "a panda", "document": "a panda"}])

    batch(source, tmp_path / "out", "--model", "m", "--label", "yes", "--threads", 2, "--engine", "reference")

    assert asked == {"label": "yes", "threads": 2, "engine": "reference"}


def test_long_documents_are_scored_whole_where_asked(tmp_path: Path, rows_of: Make, checkpoint: Path) -> None:
    document = "the cat sat on a mat . " * 40 + "the giant panda is a bear"
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, "query": "panda", "document": document}))
    model = rerank_core.load(str(checkpoint), max_length=64)

    for mode in ("truncate", "chunk"):
        batch(
            tmp_path / "a.jsonl", tmp_path / mode, "--model", checkpoint, "--max-length", 64, "--long-documents", mode,
        )  # fmt: skip

        (after,) = rows_of(tmp_path / mode / "a.jsonl")
        options = ScoreOptions(long_documents=mode)
        assert (after["score"],) == model.score("panda", [document], options=options).values


def test_columns_may_have_other_names(tmp_path: Path, url: str, rows_of: Make) -> None:
    row = {"key": 7, "q": "panda", "text": "a panda"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))

    batch(
        tmp_path / "a.jsonl", tmp_path / "out", "--url", url, "--id", "key", "--query", "q", "--document", "text",
    )  # fmt: skip

    (after,) = rows_of(tmp_path / "out" / "a.jsonl")
    assert {name: after[name] for name in row} == row
    assert 0 < after["score"] < 1


@pytest.mark.parametrize("overlap", [OverlapModel(takes_instruction=True)], ids=["takes instructions"])
def test_an_instruction_is_given_with_every_row(tmp_path: Path, url: str, overlap: OverlapModel, rows_of: Make) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, "query": "panda", "document": "a train"}))

    batch(tmp_path / "a.jsonl", tmp_path / "out", "--url", url, "--instruction", "about a train")

    (after,) = rows_of(tmp_path / "out" / "a.jsonl")
    options = ScoreOptions(instruction="about a train")
    assert (after["score"],) == overlap.score("panda", ["a train"], options).values
    assert after["score"] > overlap.score("panda", ["a train"]).values[0]


def test_servers_on_ray_make_no_sense(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidRequest, match="--url and --ray exclude each other"):
        batch(tmp_path, tmp_path / "out", "--url", url, "--ray", "local")


def test_the_command_is_found_by_its_entry_point_and_brings_in_nothing_heavy() -> None:
    code = """
import sys
from rerank_core.cli import main
code = main(["batch", "--help"])
print("heavy", [name for name in ("torch", "numpy", "pyarrow", "ray", "tqdm", "httpx") if name in sys.modules])
sys.exit(code)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "--on-error" in ended.stdout
    assert ended.stdout.endswith("heavy []\n")


@pytest.mark.parametrize(
    ("library", "name", "said"),
    [("pyarrow", "a.parquet", "rerank-integrations[batch]"), ("ray", "a.jsonl", "rerank-integrations[ray]")],
)
def test_what_is_not_installed_is_named_with_its_extra(tmp_path: Path, library: str, name: str, said: str) -> None:
    (tmp_path / name).touch()
    code = f"""
import sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={library!r})

sys.meta_path.insert(0, Absent())
from rerank_core.testing.doubles import OverlapModel
from rerank_integrations.batch import score_files
from rerank_integrations.ray import score_files_on_ray
score = score_files if {library!r} == "pyarrow" else score_files_on_ray
score({str(tmp_path / name)!r}, {str(tmp_path / "out")!r}, OverlapModel())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert said in ended.stderr.splitlines()[-1]
