import pytest
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from rerank_core.types import ScoreOptions


def test_the_same_seed_is_the_same_checkpoint_and_another_is_another(tmp_path):
    one, same, other = (
        (write_tiny_checkpoint(tmp_path / name, seed=seed) / "model.safetensors").read_bytes()
        for name, seed in [("one", 0), ("same", 0), ("other", 1)]
    )

    assert one == same != other


@pytest.mark.parametrize(
    "family",
    [
        "bert",
        "bert-relative",
        "xlm-roberta",
        "xlm-roberta-xl",
        "roberta",
        "distilbert",
        "electra",
        "modernbert",
        "deberta-v2",
        "deberta-v2-convolution",
    ],
)
def test_the_scores_of_a_tiny_checkpoint_tell_documents_apart(tiny_model, family):
    """A network that says the same of everything would let every test pass."""
    values = (
        tiny_model(family)
        .score("a panda", ["a panda", "bamboo eats china", "paris in france"], ScoreOptions(raw=True))
        .values
    )

    assert max(values) - min(values) > 0.01
