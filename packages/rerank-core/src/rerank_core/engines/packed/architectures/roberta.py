"""RoBERTa, and XLM-RoBERTa and CamemBERT, which differ in their vocabularies only."""

from dataclasses import replace

from rerank_core.engines.packed.architectures.base import (
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
)

ROBERTA = Architecture(
    "RoBERTa",
    ("cross-encoder/quora-roberta-base",),
    ParameterNames("roberta."),
    ClassifierNames("classifier.dense", "tanh", "classifier.out_proj"),
    offset_positions=True,
    ignored=(*POSITION_IDS, *POOLER),
)
XLM_ROBERTA = replace(ROBERTA, name="XLM-RoBERTa", examples=("BAAI/bge-reranker-v2-m3",))
CAMEMBERT = replace(ROBERTA, name="CamemBERT", examples=("antoinelouis/crossencoder-camembert-base-mmarcoFR",))

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
    code=frozenset({"XLMRobertaModel", "XLMRobertaForSequenceClassification"}),
)
