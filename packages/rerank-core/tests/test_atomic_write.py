from pathlib import Path

import pytest
from rerank_core.atomic_write import atomic_write, write_text


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.jsonl"
    with atomic_write(target) as path:
        path.write_text("all of it")
        during = target.exists()

    assert not during
    assert target.read_text() == "all of it"
    assert [path.name for path in target.parent.iterdir()] == ["a.jsonl"]


def test_what_failed_leaves_nothing_and_what_was_before(tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    target.write_text("before")

    def half() -> None:
        with atomic_write(target) as path:
            path.write_text("half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()

    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_what_a_killed_attempt_left_goes_and_what_is_of_another_file_stays(tmp_path: Path) -> None:
    for name in (".a.jsonl.01234567.part", ".a.jsonl.gz.01234567.part", ".b.jsonl.01234567.part"):
        (tmp_path / name).touch()

    with atomic_write(tmp_path / "a.jsonl", remove_leftovers=True) as path:
        path.touch()

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.jsonl.gz.01234567.part", ".b.jsonl.01234567.part", "a.jsonl",
    ]  # fmt: skip


def test_two_attempts_at_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with atomic_write(target) as first, atomic_write(target) as second:
        first.write_text("one")
        second.write_text("two")

    assert target.read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_text_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()

    write_text(tmp_path / "a.json", "größer")

    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "größer"
    assert (tmp_path / "a.json").stat().st_mode == plain.stat().st_mode
