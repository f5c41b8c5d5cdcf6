import json
import os
from pathlib import Path

import pytest
from rerank_core import CheckpointError, manifest
from rerank_core.manifest import read_manifest, sha256, verify, verify_file, write_manifest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def directory(tmp_path) -> Path:
    (tmp_path / "config.json").write_text("abc")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the files that were read to be hashed."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return sha256(path)

    monkeypatch.setattr(manifest, "sha256", noted)
    return names


def test_a_manifest_lists_every_file_with_size_and_hash(directory):
    written = write_manifest(directory, model="a/b", revision="abc123")

    assert sorted(written.files) == ["1_Pooling/config.json", "config.json"]
    assert (written.files["config.json"].size, written.files["config.json"].sha256) == (3, ABC)
    assert read_manifest(directory) == written
    verify(directory, written)


def test_writing_again_does_not_list_the_manifest_itself(directory):
    first = write_manifest(directory, model="a/b", revision=None)

    assert write_manifest(directory, model="a/b", revision=None) == first


def test_a_directory_without_a_manifest_has_none(directory):
    assert read_manifest(directory) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"files": 3}',
        '{"files": {"a": 1}}',
        '{"model": "m", "revision": null, "files": {"a": {}}}',
    ],
)
def test_a_damaged_manifest_is_named(directory, content):
    (directory / manifest.NAME).write_text(content)

    with pytest.raises(CheckpointError, match=r"rerank-manifest\.json is damaged"):
        read_manifest(directory)


def test_a_file_is_hashed_once_while_it_does_not_change(directory, hashed):
    file = directory / "config.json"
    verify_file(file, sha256_expected=ABC)
    verify_file(file, sha256_expected=ABC)

    assert hashed == ["config.json"]


def test_a_file_is_hashed_again_when_its_time_changed(directory, hashed):
    file = directory / "config.json"
    verify_file(file, sha256_expected=ABC)
    os.utime(file, ns=(1, 1))
    verify_file(file, sha256_expected=ABC)

    assert hashed == ["config.json"] * 2


def test_a_change_that_keeps_the_size_is_noticed(directory):
    written = write_manifest(directory, model="a/b", revision=None)
    verify(directory, written)
    (directory / "config.json").write_text("abd")
    os.utime(directory / "config.json", ns=(1, 1))

    with pytest.raises(CheckpointError, match=rf"config\.json is not the file it should be: .* expected {ABC}"):
        verify(directory, written)


def test_a_wrong_hash_is_never_remembered_as_a_right_one(directory):
    for _ in range(2):
        with pytest.raises(CheckpointError, match="is not the file it should be"):
            verify_file(directory / "config.json", sha256_expected="0" * 64)


def test_a_changed_size_is_told_with_both_numbers(directory):
    written = write_manifest(directory, model="a/b", revision=None)
    (directory / "config.json").write_text("abcd")

    with pytest.raises(CheckpointError, match=r"config\.json has 4 bytes, its manifest says 3: fetch the model again"):
        verify(directory, written)


def test_a_missing_file_is_named(directory):
    written = write_manifest(directory, model="a/b", revision=None)
    (directory / "1_Pooling" / "config.json").unlink()

    with pytest.raises(CheckpointError, match=r"1_Pooling.config\.json is missing, its manifest lists it"):
        verify(directory, written)


def test_the_manifest_on_disk_is_plain_json(directory):
    write_manifest(directory, model="a/b", revision="abc123")

    assert json.loads((directory / manifest.NAME).read_text()) == {
        "model": "a/b",
        "revision": "abc123",
        "files": {
            "1_Pooling/config.json": {"size": 2, "sha256": sha256(directory / "1_Pooling" / "config.json")},
            "config.json": {"size": 3, "sha256": ABC},
        },
    }
