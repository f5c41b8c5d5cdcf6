from importlib import import_module
from importlib.metadata import version

import pytest
import rerank_core


def test_the_public_names_are_these():
    """A name that joins or leaves is a decision, and this line is where it is taken."""
    assert set(rerank_core.__all__) == {
        "AsyncScorer", "DEFAULT_MODEL",
        "Calibration", "CheckpointError", "DeadlineExceeded", "DeviceError", "EngineError", "InputTooLong",
        "InvalidRequest", "LocalModel", "MissingExtra", "ModelError", "ModelInfo", "Overloaded", "Pair",
        "RankedDocument", "Ranking", "RerankError", "ScoreOptions", "Scorer", "Scores", "Sentence", "Span",
        "StepwiseModel", "TooManyDocuments", "Unauthorized", "Unavailable", "UnknownModel", "Usage", "__version__",
        "load", "rank", "rerank", "score_pairs",
    }  # fmt: skip


@pytest.mark.parametrize("name", rerank_core.__all__)
def test_every_public_name_is_there(name):
    assert getattr(rerank_core, name) is not None


def test_the_version_is_the_packages():
    assert rerank_core.__version__ == version("rerank-core")


def test_any_other_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rerank_core.nothing


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [
        ("rerank_core", "PairModel", "StepwiseModel"),
        ("rerank_core.scorer", "PairModel", "StepwiseModel"),
        ("rerank_core.types", "Segment", "TokenSequence"),
    ],
)
def test_a_name_of_the_last_release_works_and_warns_where_it_is_used(module, name, now):
    found = import_module(module)

    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now {now}; the old way goes away") as caught:
        old = getattr(found, name)
    assert old is getattr(found, now)
    assert [warning.filename for warning in caught] == [__file__]
