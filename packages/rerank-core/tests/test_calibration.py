"""A calibration takes the sigmoid's place, whatever it is given as."""

import json

import pytest
import rerank_core
from rerank_core import Calibration, InvalidRequest, ScoreOptions
from rerank_core.calibration import read_calibration
from rerank_core.models.scoring import sigmoid
from rerank_core.testing.doubles import OverlapModel


@pytest.mark.parametrize("given", [(1.5, -2), "1.5,-2", " 1.5 , -2.0 "])
def test_two_numbers_are_a_calibration(given) -> None:
    assert read_calibration(given) == Calibration(1.5, -2.0)


def test_a_file_is_one_too(tmp_path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({"a": 2, "b": 0.5, "model": "m"}))

    assert read_calibration(file) == read_calibration(str(file)) == Calibration(2.0, 0.5)
    assert read_calibration(None) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0.0, 1.0), "a is above 0"),
        ((-1.0, 1.0), "a is above 0"),
        ((1.0,), "use two numbers"),
        ("1,2,3", "use two numbers"),
        ("nan,1", "a is above 0"),
        ("no-such-file", "cannot be read"),
    ],
)
def test_what_is_none_is_refused_with_the_way_out(given, said) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read_calibration(given)


def test_a_file_without_numbers_is_named(tmp_path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text('{"a": "much"}')

    with pytest.raises(InvalidRequest, match=r"calibration\.json.* has no numbers a and b"):
        read_calibration(file)


def test_scores_are_its_sigmoid_and_raw_ones_stay() -> None:
    plain, calibrated = OverlapModel(), OverlapModel(calibration=Calibration(2.0, 0.5))
    documents = ["pandas live in China", "Paris is a city"]

    raw = plain.score("where do pandas live", documents, ScoreOptions(raw=True)).values

    assert calibrated.score("where do pandas live", documents, ScoreOptions(raw=True)).values == raw
    assert calibrated.score("where do pandas live", documents).values == tuple(
        sigmoid(2.0 * each + 0.5) for each in raw
    )


def test_a_model_is_loaded_with_one_and_says_so(tiny) -> None:
    model = rerank_core.load(str(tiny("bert")), calibration="2,0.5", device="cpu")
    plain = rerank_core.load(str(tiny("bert")), device="cpu")

    assert model.info.calibration == Calibration(2.0, 0.5)
    assert model.fingerprint() == plain.fingerprint()  # raw scores are the same
    (raw,) = plain.score("a", ["b"], ScoreOptions(raw=True)).values
    assert model.score("a", ["b"]).values == (sigmoid(2.0 * raw + 0.5),)
