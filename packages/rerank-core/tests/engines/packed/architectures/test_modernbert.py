"""ModernBERT: configurations of today and of before, and those that are refused."""

import shutil
from pathlib import Path

import pytest
import rerank_core
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.testing.checkpoints import WORDS, edit_json, write_tiny_checkpoint

DOCUMENTS = [" ".join(WORDS[:words] * 4) for words in (1, 3, 9, 30)]


def test_a_configuration_of_before_transformers_5_is_read_the_same(tmp_path):
    """Published checkpoints have two fields for the thetas, and a number for the layers that are global."""
    fields = {"num_hidden_layers": 3, "global_attn_every_n_layers": 2, "max_position_embeddings": 200}
    write_tiny_checkpoint(tmp_path, "modernbert", config=fields)
    edit_json(
        tmp_path / "config.json",
        layer_types=None,
        rope_parameters=None,
        global_attn_every_n_layers=2,
        global_rope_theta=50.0,
        local_rope_theta=7.0,
    )
    golden, ours = (rerank_core.load(str(tmp_path), device="cpu", engine=name) for name in ("reference", "packed"))
    wanted = golden.score("where", DOCUMENTS, ScoreOptions(raw=True)).values

    assert ours.score("where", DOCUMENTS, ScoreOptions(raw=True)).values == pytest.approx(wanted, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("positions", ["absolute", "sans_pos"])
@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_fields_of_published_configurations_that_no_network_reads_change_no_score(tiny, tmp_path, positions, engine):
    """Ettin's and mmBERT's say sans_pos, for positions that are not in the embeddings; others say absolute."""
    directory = Path(shutil.copytree(tiny("modernbert"), tmp_path / "copy"))
    edit_json(
        directory / "config.json",
        position_embedding_type=positions,
        layer_norm_eps=1e-2,
        causal_mask=False,
        is_causal=False,
        gradient_checkpointing=False,
        reference_compile=None,
        repad_logits_with_grad=False,
    )

    before, after = (
        rerank_core.load(str(path), device="cpu", engine=engine).score("where", DOCUMENTS, ScoreOptions(raw=True))
        for path in (tiny("modernbert"), directory)
    )

    assert after.values == before.values


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 9.0}}}, "linear"),
        ({"rope_parameters": {"rope_theta": 9.0}}, "rope_parameters has rope_theta"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
        ({"layer_types": ["full_attention"]}, "one a layer"),
        ({"classifier_pooling": "max"}, "classifier_pooling is 'max'"),
        ({"local_attention": -2}, "local_attention is -2"),
        ({"mlp_bias": True}, "mlp.Wi.bias is missing"),
        ({"num_attention_heads": 32}, "heads of 1 have no halves"),
        ({"max_position_embeddings": 2**21}, "it needs 1 to 1,048,576"),
    ],
)
def test_a_configuration_that_is_not_computed_is_refused_with_the_reason(tmp_path, fields, reason):
    write_tiny_checkpoint(tmp_path, "modernbert")
    edit_json(tmp_path / "config.json", **fields)

    with pytest.raises(CheckpointError, match=f"the packed engine does not run .*{reason}"):
        rerank_core.load(str(tmp_path), device="cpu", engine="packed")
