"""The hub: a small one on loopback, asked by real processes, as ``HF_ENDPOINT`` allows."""

import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rerank_core
from rerank_core import CheckpointError
from rerank_core.checkpoints import hub, manifest
from rerank_core.testing.hub import COMMIT, FakeHub, files_of, serve_hub
from rerank_core.testing.language_models import write_tiny_language_model

OFFLINE_ADVICE = ["name a local directory", "rerank fetch", "the model 'lite'", "install rerank-core[lite]"]


@pytest.fixture
def fake_hub() -> Iterator[tuple[FakeHub, str]]:
    with serve_hub() as served:
        yield served


@pytest.fixture
def command(fresh_python, rerank_program, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """The command ``rerank`` in a process of its own that knows one hub and has an empty cache."""

    def run(endpoint: str, *arguments: str) -> tuple[int, str, str]:
        done = fresh_python(rerank_program, *arguments, env=environment(endpoint, tmp_path))
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def environment(endpoint: str, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf-home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def repository(tiny, tmp_path) -> Path:
    """A repository as they are on the hub: the model, and much that nobody needs to run it."""
    directory = Path(shutil.copytree(tiny("bert"), tmp_path / "repository"))
    for name in [
        "pytorch_model.bin",
        "README.md",
        ".gitattributes",
        "onnx/model.onnx",
        "onnx/model.safetensors",
        "modeling.py",
    ]:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("not for you")
    return directory


WANTED = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize("is_fetched", [False, True])
def test_a_language_model_is_known_by_the_name_that_the_hub_has_for_it(fake_hub, command, tmp_path, is_fetched):
    """The card of BAAI/bge-reranker-v2-gemma has the title "Reranker"."""
    fake, endpoint = fake_hub
    model = "BAAI/bge-reranker-v2-gemma"
    fake.repositories[model] = write_tiny_language_model(tmp_path / "repository", "gemma", card="# Reranker\n")
    if is_fetched:
        assert command(endpoint, "fetch", model, str(tmp_path / "model"))[0] == 0
        model = str(tmp_path / "model")

    code, out, error = command(endpoint, "info", model, "--device", "cpu")

    assert (code, error) == (0, "")
    assert "recipe      bge-reranker-v2-gemma" in out


def test_fetch_downloads_only_what_runs_the_model_and_writes_a_manifest(
    fake_hub, command, repository, tmp_path, tiny_model
):
    fake, endpoint = fake_hub
    fake.repositories["somebody/tiny"] = repository

    code, out, err = command(endpoint, "fetch", "somebody/tiny", str(tmp_path / "fetched"))

    assert (code, err) == (0, "")
    assert out.startswith(f"somebody/tiny at {COMMIT}: 5 files, ")
    assert set(fake.asked) == set(WANTED)
    assert files_of(tmp_path / "fetched") == sorted([*WANTED, manifest.NAME])
    model = rerank_core.load(str(tmp_path / "fetched"), device="cpu")
    assert (model.info.name, model.info.revision) == ("somebody/tiny", COMMIT)
    assert model.score("a panda", ["bamboo"]).values == tiny_model("bert").score("a panda", ["bamboo"]).values


def test_a_hub_model_loads_and_then_needs_the_hub_no_more(fake_hub, fresh_python, repository, tmp_path, tiny_model):
    fake, endpoint = fake_hub
    fake.repositories["somebody/tiny"] = repository
    code = """
import rerank_core
for _ in range(2):
    model = rerank_core.load("somebody/tiny", device="cpu")
    print(model.info.name, model.info.revision, *model.score("a panda", ["bamboo"]).values)
    import huggingface_hub.constants
    # From here on the hub is gone.
    huggingface_hub.constants.ENDPOINT = "http://127.0.0.1:9"
"""
    done = fresh_python("-W", "error", "-c", code, env=environment(endpoint, tmp_path))

    (score,) = tiny_model("bert").score("a panda", ["bamboo"]).values
    assert done.stdout.splitlines() == [f"somebody/tiny {COMMIT} {score}"] * 2, done.stderr
    assert set(fake.asked) == set(WANTED)


def test_a_repository_of_pickles_is_refused_by_their_names(fake_hub, command, repository, tmp_path):
    fake, endpoint = fake_hub
    for name in ["model.safetensors", "onnx/model.safetensors"]:
        (repository / name).unlink()
    fake.repositories["somebody/pickled"] = repository

    code, out, err = command(endpoint, "fetch", "somebody/pickled", str(tmp_path / "fetched"))

    assert (code, out) == (1, "")
    assert "somebody/pickled has no safetensors weights on the hub (found: pytorch_model.bin)" in err
    assert fake.asked == []


# The rest comes in by the Python door, where the hub's address can be set without a process for each.


@pytest.fixture
def asks(fake_hub, monkeypatch, tmp_path) -> FakeHub:
    """This process asks the fake hub, and has an empty cache."""
    from huggingface_hub import constants

    fake, endpoint = fake_hub
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub, "_PAUSE", 0.0)
    return fake


def test_a_model_that_the_hub_does_not_have_is_named(asks):
    with pytest.raises(CheckpointError, match="nobody/nothing is neither a directory here nor a model on the hub"):
        rerank_core.load("nobody/nothing")
    assert len(asks.attempts) == 1


def test_a_revision_that_the_hub_does_not_have_is_named(asks, repository):
    asks.repositories["somebody/tiny"] = repository

    with pytest.raises(CheckpointError, match="somebody/tiny has no revision 'v9' on the hub"):
        rerank_core.load("somebody/tiny", revision="v9")


@pytest.mark.parametrize("name", ["white space", "--", "a" * 200])
def test_a_name_that_cannot_be_one_is_refused_without_asking(asks, name):
    with pytest.raises(CheckpointError, match="is neither a directory here nor a model's name on the hub"):
        rerank_core.load(name)
    assert asks.attempts == []


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_is_down_is_asked_a_few_times_and_then_told(asks, status):
    asks.status = status

    with pytest.raises(CheckpointError) as caught:
        rerank_core.load("somebody/tiny")

    message = str(caught.value)
    assert "somebody/tiny is not cached here and the hub could not be reached" in message
    for way_out in OFFLINE_ADVICE:
        assert way_out in message
    assert len(asks.attempts) <= 3 * hub._ATTEMPTS


def test_an_unreachable_hub_is_told_with_the_model_and_three_ways_out(asks, monkeypatch):
    from huggingface_hub import constants

    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(CheckpointError) as caught:
            rerank_core.load("somebody/tiny")

    message = str(caught.value)
    assert message.startswith("somebody/tiny is not cached here and the hub could not be reached (")
    for way_out in OFFLINE_ADVICE:
        assert way_out in message


def test_offline_mode_does_not_ask_at_all(asks, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(CheckpointError, match="the hub could not be reached"):
        rerank_core.load("somebody/tiny")
    assert asks.attempts == []


def test_attempts_end_after_about_fifteen_seconds():
    assert 10 <= hub._ATTEMPTS * hub._TIMEOUT + (hub._ATTEMPTS - 1) * hub._PAUSE <= 16


def test_a_pickled_hub_model_is_loaded_again_at_its_commit(asks, repository):
    """By the name of a branch it could be another model in the next process."""
    asks.repositories["somebody/tiny"] = repository
    model = rerank_core.load("somebody/tiny", device="cpu")

    pickled = pickle.dumps(model)
    other = pickle.loads(pickled)

    assert COMMIT.encode() in pickled
    assert other.info == model.info
    assert pickle.dumps(other) == pickled
