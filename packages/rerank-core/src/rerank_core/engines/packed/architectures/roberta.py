"""RoBERTa; XLM-RoBERTa and CamemBERT, which differ in their vocabularies only; XLM-RoBERTa-XL, with norms first."""

from dataclasses import replace

from rerank_core.engines.packed.architectures.base import (
    ABSOLUTE,
    ABSOLUTE_OR_RELATIVE,
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
    absolute_or_relative,
    whole_attention,
)

ROBERTA = Architecture(
    "RoBERTa",
    ("cross-encoder/quora-roberta-base",),
    ParameterNames("roberta."),
    ClassifierNames("classifier.dense", "tanh", "classifier.out_proj"),
    offset_positions=True,
    positions=ABSOLUTE_OR_RELATIVE,
    attention=absolute_or_relative,
    ignored=(*POSITION_IDS, *POOLER),
)
XLM_ROBERTA = replace(ROBERTA, name="XLM-RoBERTa", examples=("BAAI/bge-reranker-v2-m3",))
CAMEMBERT = replace(ROBERTA, name="CamemBERT", examples=("antoinelouis/crossencoder-camembert-base-mmarcoFR",))

# No norm behind the embeddings: each layer, the first too, has one before its attention.
XLM_ROBERTA_XL = replace(
    XLM_ROBERTA,
    name="XLM-RoBERTa-XL",
    examples=(),
    base="facebook/xlm-roberta-xl",
    names=ParameterNames(
        "roberta.",
        norm=None,
        attention_norm="encoder.layer.{}.attention.self_attn_layer_norm",
        layer_norm="encoder.layer.{}.LayerNorm",
        final_norm="encoder.LayerNorm",
    ),
    epsilon=("layer_norm_eps", 1e-5),
    norm_first=True,
)

# The parameters of jinaai's own code (with flash attention), which are called otherwise. It computes the same.
XLM_ROBERTA_FLASH = replace(
    XLM_ROBERTA,
    name="XLM-RoBERTa (flash)",
    examples=("jinaai/jina-reranker-v2-base-multilingual",),
    names=ParameterNames(
        "roberta.",
        norm="emb_ln",
        qkv="encoder.layers.{}.mixer.Wqkv",
        attention_out="encoder.layers.{}.mixer.out_proj",
        attention_norm="encoder.layers.{}.norm1",
        up="encoder.layers.{}.mlp.fc1",
        down="encoder.layers.{}.mlp.fc2",
        layer_norm="encoder.layers.{}.norm2",
    ),
    positions=ABSOLUTE,
    attention=whole_attention,
    code=frozenset({"XLMRobertaModel", "XLMRobertaForSequenceClassification"}),
)
