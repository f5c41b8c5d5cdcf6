"""DeBERTa-v2 and v3: configurations that are refused."""

import pytest
import rerank_core
from rerank_core import CheckpointError
from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"relative_attention": False}, "relative_attention is not set"),
        ({"conv_kernel_size": 3}, "encoder.conv.conv.weight is missing"),
        ({"conv_kernel_size": 4}, "conv_kernel_size is 4: it knows an odd number"),
        ({"conv_kernel_size": 3, "conv_groups": 2}, "conv_groups is 2"),
        ({"conv_kernel_size": 3, "conv_act": "selu"}, "not selu"),
        ({"conv_kernel_size": 3, "num_hidden_layers": 1}, "the first of several layers"),
        ({"attention_head_size": 4}, "attention_head_size is 4"),
        ({"pos_att_type": ["p2p"]}, "it knows c2p and p2c"),
        ({"pos_att_type": None}, "it knows c2p and p2c"),
        ({"norm_rel_ebd": "batch_norm"}, "it knows layer_norm"),
        ({"position_buckets": 300}, "position_buckets is 300, of 128 positions"),
        ({"position_buckets": 16}, r"rel_embeddings.weight has the shape \(256, 32\), not \(32, 32\)"),
        ({"share_att_key": True}, "parameters that it does not know: .*pos_key_proj"),
        ({"embedding_size": 16}, "embeddings of 16 need a projection"),
    ],
)
def test_a_configuration_that_is_not_computed_is_refused_with_the_reason(tmp_path, fields, reason):
    write_tiny_checkpoint(tmp_path, "deberta-v2")
    edit_json(tmp_path / "config.json", **fields)

    with pytest.raises(CheckpointError, match=f"the packed engine does not run .*{reason}"):
        rerank_core.load(str(tmp_path), device="cpu", engine="packed")
