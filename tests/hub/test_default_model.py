"""The default model says what its authors published."""

import pytest
import rerank_core
from rerank_core.errors import CheckpointError
from rerank_core.types import ScoreOptions

# From the model card of BAAI/bge-reranker-v2-m3.
PUBLISHED = {
    ("query", "passage"): -5.652,
    ("what is panda?", "hi"): -8.188,
    (
        "what is panda?",
        "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, "
        "is a bear species endemic to China.",
    ): 5.262,
}


@pytest.fixture(scope="module")
def model() -> rerank_core.Scorer:
    try:
        return rerank_core.load()
    except CheckpointError as error:
        if "could not be reached" not in str(error):
            raise
        pytest.skip(f"SKIPPED LOUDLY: the published logits of the default model were not checked: {error}")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("pair", "logit"), PUBLISHED.items())
def test_a_published_logit_is_ours(model: rerank_core.Scorer, pair: tuple[str, str], logit: float) -> None:
    query, passage = pair

    assert model.score(query, [passage], ScoreOptions(raw=True)).values[0] == pytest.approx(logit, abs=0.05)
