"""Data sets on a Ray of this machine, with two actors."""

import argparse
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rerank_core.errors import InvalidRequest
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import Scores
from rerank_integrations.batch import Job, score_files
from rerank_integrations.batch.command import COMMAND
from rerank_integrations.local import ModelScorer
from rerank_integrations.ray import score_files_on_ray

ray = pytest.importorskip("ray", reason="SKIPPED LOUDLY: the extra 'ray' is not installed")

# Ray takes its time, and warns of itself.
pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]

LIMIT = 100.0  # seconds; processes that start on a busy machine


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """One for all tests."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    directory = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: Ray makes Unix sockets in it
    try:
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            object_store_memory=100_000_000, _temp_dir=directory,
        )  # fmt: skip
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def write(folder: Path, files: int, rows: int, *, more: str = "") -> None:
    """Rows with an id of their own; ``more`` is put behind the document in the middle of the second file."""
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / f"{number}.jsonl").open("w") as file:
            for row in range(number * rows, (number + 1) * rows):
                document = f"panda {'bamboo ' * (row % 7)}{row % 13}"
                if number == 1 and row == number * rows + rows // 2:
                    document += more
                file.write(json.dumps({"id": row, "query": f"panda {row // 10}", "document": document}) + "\n")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_pausing(marker: Path) -> Any:
    """A class made here goes to an actor whole: the module of a test cannot be imported there."""

    class Pausing:
        """Counts words. At the first document that says so it notes its process, and stays there until it is killed."""

        def score(self, query: str, documents: Sequence[str], **options: Any) -> Scores:
            if any(document.endswith("pause") for document in documents) and not marker.exists():
                part = marker.with_suffix(".part")
                part.write_text(str(os.getpid()))
                part.rename(marker)
                threading.Event().wait()
            return OverlapModel().score(query, documents, **options)

    return Pausing()


def test_the_files_are_those_of_one_process(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 rows by the command, to the last byte."""
    write(tmp_path / "in", 4, 1250)
    score_files(tmp_path / "in", tmp_path / "alone", ModelScorer(str(checkpoint), threads=1), Job(rerank=True))
    monkeypatch.chdir(checkpoint.parent)  # an actor is in another directory
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--rerank", "--model", checkpoint.name, "--ray", "local"]

    assert COMMAND.run(parser.parse_args(arguments)) == 0

    assert capsys.readouterr().out.startswith("5,000 rows of 4 files, 0 of them without a score")
    assert names(tmp_path / "out") == names(tmp_path / "alone")
    for number in range(4):
        name = f"{number}.jsonl"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_when_an_actor_is_killed_every_row_is_scored_once(tmp_path: Path) -> None:
    write(tmp_path / "in", 6, 100, more=" pause")
    marker = tmp_path / "marker"
    done: list[Any] = []

    def run() -> None:
        job = Job(chunk_rows=10)
        done.append(score_files_on_ray(tmp_path / "in", tmp_path / "out", make_pausing(marker), job, actors=2))

    running = threading.Thread(target=run)
    running.start()
    until = time.monotonic() + LIMIT
    while not marker.exists():
        assert time.monotonic() < until, "no actor came to the row"
        time.sleep(0.05)  # between two looks at another process
    half = list((tmp_path / "out").glob(".1.jsonl.*"))

    os.kill(int(marker.read_text()), signal.SIGKILL)
    running.join(LIMIT)

    assert len(half) == 1
    assert not running.is_alive()
    assert done[0].rows == 600
    assert names(tmp_path / "out") == [*(f"{number}.jsonl" for number in range(6)), "_rerank.json"]
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == list(range(600))
    model = OverlapModel()
    assert [row["score"] for row in rows] == [model.score(row["query"], [row["document"]]).values[0] for row in rows]


def test_a_broken_row_ends_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "in", 3, 10)
    (tmp_path / "in" / "3.jsonl").write_text('{"id": 1, "query": "secret"}\n' * 1000)  # the largest comes first
    scorer = make_pausing(tmp_path / "marker")

    with pytest.raises(InvalidRequest, match=r"3.jsonl, line 1 has no 'document'") as raised:
        score_files_on_ray(tmp_path / "in", tmp_path / "out", scorer, actors=1)
    assert "secret" not in str(raised.value)
    summary = score_files_on_ray(tmp_path / "in", tmp_path / "out", scorer, Job(on_error="skip"))

    assert summary.done_before + summary.files == 4
    assert summary.skipped == 1000
    assert len(rows_of(tmp_path / "out")) == 1030


def test_more_actors_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "in", 1, 10)

    for takes in ({"actors": 3}, {"cpus": 4}, {"gpus": 1}):
        with pytest.raises(InvalidRequest, match="the cluster has room for"):
            score_files_on_ray(tmp_path / "in", tmp_path / "out", OverlapModel(), **takes)
