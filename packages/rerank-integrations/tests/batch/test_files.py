import os
from pathlib import Path

import pytest
from rerank_core.errors import InvalidRequest
from rerank_integrations.batch.files import appearing, list_tasks


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


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.jsonl"
    with appearing(target) as path:
        path.write_text("all of it")
        during = target.exists()

    assert not during
    assert target.read_text() == "all of it"
    assert [path.name for path in target.parent.iterdir()] == ["a.jsonl"]


def test_what_failed_leaves_nothing_and_what_was_before(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("before")

    def half() -> None:
        with appearing(target) as path:
            path.write_text("half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()

    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_what_a_killed_attempt_left_goes_and_what_is_of_another_file_stays(tmp_path: Path) -> None:
    for name in (".a.jsonl.01234567.part", ".a.jsonl.gz.01234567.part", ".b.jsonl.01234567.part"):
        (tmp_path / name).touch()

    with appearing(tmp_path / "a.jsonl") as path:
        path.touch()

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.jsonl.gz.01234567.part", ".b.jsonl.01234567.part", "a.jsonl",
    ]  # fmt: skip


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
