import json
import os
from pathlib import Path

import pytest
from rerank_core import CheckpointError
from rerank_core.checkpoints import manifest
from rerank_core.checkpoints.manifest import read_manifest, sha256, verify, verify_file, write_manifest

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
        '{"model": "m", "revision": null, "files": {}}',
        '{"model": 5, "revision": null, "files": {"a": {"size": 1, "sha256": "' + "0" * 64 + '"}}}',
        '{"model": "m", "revision": null, "files": {"a": {"size": "1", "sha256": "' + "0" * 64 + '"}}}',
        '{"model": "m", "revision": null, "files": {"a": {"size": 1, "sha256": "short"}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_named(directory, content):
    (directory / manifest.NAME).write_text(content)

    with pytest.raises(CheckpointError, match=r"rerank-manifest\.json (is damaged|cannot be read|lists no files)"):
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


# ---------------------------------------------------------------------------- names that lead out


@pytest.fixture
def secret(tmp_path_factory) -> Path:
    """A file outside the directory."""
    path = tmp_path_factory.mktemp("elsewhere") / "secret"
    path.write_text("abc")
    return path


@pytest.mark.parametrize(
    "name",
    ["../secret", "1_Pooling/../../secret", "/etc/hostname", "..\\secret", "C:secret", "C:/secret", "a\0b", ".."],
)
def test_a_name_that_leads_out_of_the_directory_is_refused_before_anything_is_read(directory, hashed, name):
    file = manifest.ManifestFile(3, "0" * 64)

    with pytest.raises(CheckpointError, match="does not lie in the directory") as caught:
        verify(directory, manifest.Manifest("a/b", None, {name: file}))

    assert hashed == []
    assert ABC not in str(caught.value)


def test_a_listed_link_that_leads_out_is_refused_and_its_content_is_not_told(directory, secret):
    (directory / "config.json").unlink()
    (directory / "config.json").symlink_to(secret)
    written = manifest.Manifest("a/b", None, {"config.json": manifest.ManifestFile(3, "0" * 64)})

    with pytest.raises(CheckpointError, match="a link that leads out of the directory") as caught:
        verify(directory, written)

    assert ABC not in str(caught.value)


def test_a_link_inside_the_directory_is_followed(directory):
    (directory / "blobs").mkdir()
    (directory / "config.json").rename(directory / "blobs" / "c0ffee")
    (directory / "config.json").symlink_to("blobs/c0ffee")

    verify(directory, write_manifest(directory, model="a/b", revision=None))


def test_a_link_to_itself_is_refused(directory):
    written = write_manifest(directory, model="a/b", revision=None)
    (directory / "config.json").unlink()
    (directory / "config.json").symlink_to("config.json")

    with pytest.raises(CheckpointError, match=r"config\.json"):
        verify(directory, written)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "config_sentence_transformers.json",
        "adapter_config.json",
        "modules.json",
        "vocab.txt",
        "modeling_theirs.py",
        "2_Normalize/config.json",
        "README.md",
        "chat_template.jinja",
        "additional_chat_templates/reranker.jinja",
        "1_LogitScore/config.json",
    ],
)
def test_a_file_that_would_be_read_and_is_not_listed_is_refused(directory, name):
    written = write_manifest(directory, model="a/b", revision=None)
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("{}")

    with pytest.raises(CheckpointError, match=r"is not in rerank-manifest\.json, and would be read"):
        verify(directory, written)


def test_a_folder_that_is_a_link_is_refused(directory, secret):
    written = write_manifest(directory, model="a/b", revision=None)
    (directory / "0_Transformer").symlink_to(secret.parent)

    with pytest.raises(CheckpointError, match="0_Transformer is a link to a folder"):
        verify(directory, written)


def test_other_files_may_lie_beside_those_that_are_listed(directory):
    written = write_manifest(directory, model="a/b", revision=None)
    for name in ("NOTES.md", "calibration.json", ".DS_Store"):
        (directory / name).write_text("")

    verify(directory, written)
