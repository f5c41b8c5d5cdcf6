"""Copies of a model: by ``copy``, by ``pickle``, and by what hashes an object by its pickle."""

import copy
import multiprocessing
import pickle
import shutil

import cloudpickle
import joblib
import numpy as np
import pytest
import rerank_core
from rerank_core import CheckpointError, InputTooLong, Overloaded, Pair, ScoreOptions
from rerank_core.models.local import LocalModel

DOCUMENTS = ["bamboo", "a panda eats bamboo", "panda " * 100]


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda model: copy.deepcopy({"in": [model]})["in"][0]])
def test_a_copy_scores_the_same_shares_the_weights_and_leaves_the_original_working(tiny_model, kind, make):
    model = tiny_model("bert", kind)
    wanted = model.score("a panda", DOCUMENTS)

    other = make(model)

    assert other is not model
    assert other._engine is model._engine
    assert other.score("a panda", DOCUMENTS) == model.score("a panda", DOCUMENTS) == wanted
    del other
    assert model.score("a panda", DOCUMENTS) == wanted


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_model_is_loaded_again_with_its_options(tiny, protocol):
    model = rerank_core.load(
        str(tiny("bert", labels=3)), label=1, max_length=60, truncation="only_second", long_documents="chunk",
        calibration=(2, 0.5), dtype="float32", engine="reference", device="cpu",
    )  # fmt: skip

    other = pickle.loads(pickle.dumps(model, protocol))

    assert other.info == model.info
    assert other.fingerprint() == model.fingerprint()
    assert other.score("a panda", DOCUMENTS) == model.score("a panda", DOCUMENTS)
    assert other._engine is not model._engine


def test_a_pickle_is_small_and_has_the_same_bytes_however_often_the_model_was_used(tiny, fresh_python):
    model = rerank_core.load(str(tiny("bert")), max_length=np.int64(40))
    before = pickle.dumps(model)
    model.score("a panda", DOCUMENTS)

    assert pickle.dumps(model) == pickle.dumps(copy.deepcopy(model)) == pickle.dumps(pickle.loads(before)) == before
    assert len(before) < 1000
    assert joblib.hash(model) == joblib.hash(copy.copy(model))
    script = "import pickle, rerank_core, sys; print(pickle.dumps(rerank_core.load(sys.argv[1], max_length=40)).hex())"
    assert fresh_python("-c", script, str(tiny("bert"))).stdout.strip() == before.hex()
    assert pickle.dumps(rerank_core.load(str(tiny("bert")), max_length=41)) != before


def test_a_function_that_uses_a_model_can_be_sent_away(tiny_model):
    model = tiny_model("bert")

    sent = cloudpickle.loads(cloudpickle.dumps(lambda query: model.score(query, DOCUMENTS)))

    assert sent("a panda") == model.score("a panda", DOCUMENTS)


def test_a_spawned_process_gets_a_model_of_its_own(tiny_model):
    model = tiny_model("bert")

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.apply(model.score, ["a panda", DOCUMENTS])

    assert elsewhere == model.score("a panda", DOCUMENTS)


def test_a_pickle_of_a_directory_that_is_gone_fails_as_load_does(tiny, tmp_path):
    shutil.copytree(tiny("bert"), tmp_path / "model")
    pickled = pickle.dumps(rerank_core.load(str(tmp_path / "model")))
    shutil.rmtree(tmp_path / "model")

    with pytest.raises(CheckpointError) as of_load:
        rerank_core.load(str(tmp_path / "model"))
    with pytest.raises(CheckpointError, match="there is no directory") as of_pickle:
        pickle.loads(pickled)
    assert str(of_pickle.value) == str(of_load.value)


def test_a_calibration_travels_as_its_numbers(tiny, tmp_path):
    """The file that it came from may be gone, or be another one elsewhere."""
    (tmp_path / "fit.json").write_text('{"a": 2.0, "b": 0.5}')
    pickled = pickle.dumps(rerank_core.load(str(tiny("bert")), calibration=tmp_path / "fit.json"))
    (tmp_path / "fit.json").unlink()

    assert pickle.loads(pickled).info.calibration == (2.0, 0.5)


def test_a_model_that_load_did_not_make_says_that_it_has_no_pickle(tiny_model):
    real = tiny_model("bert")
    made_by_hand = LocalModel(real._task, real._engine, real.info, real.fingerprint)

    with pytest.raises(TypeError, match=r"was not made by rerank_core\.load"):
        pickle.dumps(made_by_hand)
    assert copy.deepcopy(made_by_hand).score("a panda", ["bamboo"]) == real.score("a panda", ["bamboo"])


@pytest.mark.parametrize(
    "value",
    [ScoreOptions(max_chunks=3), Pair("q", "d"), Overloaded("full", retry_after=2.5), InputTooLong("long")],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_what_goes_in_and_out_of_a_model_survives_a_pickle(value, protocol):
    other = pickle.loads(pickle.dumps(value, protocol))

    assert type(other) is type(value)
    assert (str(other), getattr(other, "retry_after", None)) == (str(value), getattr(value, "retry_after", None))


def test_scores_survive_a_pickle(tiny_model):
    scores = tiny_model("bert").score("a panda", DOCUMENTS, options=ScoreOptions(long_documents="chunk"))

    assert pickle.loads(pickle.dumps(scores)) == copy.deepcopy(scores) == scores
