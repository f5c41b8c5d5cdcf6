import os
from pathlib import Path

import pytest
from rerank_core.errors import InvalidRequest
from rerank_integrations.batch.files import list_tasks


def test_every_file_of_a_folder_is_a_task_of_its_own(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("b.jsonl", "a.parquet", "deep/c.jsonl.gz", ".a.parquet", "_SUCCESS", "_tmp/d.jsonl", "notes.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()

    tasks = list_tasks(source, tmp_path / "out")

    assert [task.source.relative_to(source).as_posix() for task in tasks] == ["a.parquet", "b.jsonl", "deep/c.jsonl.gz"]
    assert [task.target for task in tasks] == [
        tmp_path / "out" / name for name in ("a.parquet", "b.jsonl", "deep/c.jsonl.gz")
    ]


def test_a_folder_that_would_be_read_again_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "a.jsonl"
    file.touch()

    for source, target in ((tmp_path / "in", tmp_path / "in" / "out"), (tmp_path, tmp_path), (file, file.parent)):
        with pytest.raises(InvalidRequest, match="use a"):
            list_tasks(source, target)


@pytest.mark.parametrize("name", ["nowhere", "notes.txt", "empty"])
def test_where_there_is_nothing_to_score_it_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidRequest, match=name):
        list_tasks(tmp_path / name, tmp_path / "out")


def test_a_result_that_is_older_than_its_input_is_not_done(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jsonl", tmp_path / "out" / "a.jsonl"
    source.touch()
    (task,) = list_tasks(source, target.parent)
    there = task.is_done
    target.parent.mkdir()
    target.touch()
    os.utime(source, (10, 10))
    os.utime(target, (10, 10))
    done = task.is_done
    os.utime(source, (11, 11))

    assert (there, done, task.is_done) == (False, True, False)
