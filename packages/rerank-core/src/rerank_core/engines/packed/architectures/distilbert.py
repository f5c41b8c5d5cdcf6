"""DistilBERT: no token types."""

from rerank_core.engines.packed.architectures.base import POSITION_IDS, Architecture, ClassifierNames, ParameterNames

DISTILBERT = Architecture(
    "DistilBERT",
    ("sentence-transformers/msmarco-distilbert-base-v4",),
    ParameterNames(
        "distilbert.",
        types=None,
        query="transformer.layer.{}.attention.q_lin",
        key="transformer.layer.{}.attention.k_lin",
        value="transformer.layer.{}.attention.v_lin",
        attention_out="transformer.layer.{}.attention.out_lin",
        attention_norm="transformer.layer.{}.sa_layer_norm",
        up="transformer.layer.{}.ffn.lin1",
        down="transformer.layer.{}.ffn.lin2",
        layer_norm="transformer.layer.{}.output_layer_norm",
    ),
    ClassifierNames("pre_classifier", "relu", "classifier"),
    sizes={
        "hidden": "dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "intermediate": "hidden_dim",
        "activation": "activation",
    },
    ignored=POSITION_IDS,
)
