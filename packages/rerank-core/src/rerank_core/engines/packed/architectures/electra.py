"""ELECTRA: a projection where its embeddings are narrower than its hidden states."""

from rerank_core.engines.packed.architectures.base import POSITION_IDS, Architecture, ClassifierNames, ParameterNames

ELECTRA = Architecture(
    "ELECTRA",
    ("cross-encoder/ms-marco-electra-base",),
    ParameterNames("electra.", projection="embeddings_project"),
    ClassifierNames("classifier.dense", "gelu", "classifier.out_proj"),
    ignored=POSITION_IDS,
)
