"""ELECTRA: a projection where its embeddings are narrower than its hidden states."""

from rerank_core.engines.packed.architectures.base import (
    ABSOLUTE_OR_RELATIVE,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
    absolute_or_relative,
)

ELECTRA = Architecture(
    "ELECTRA",
    ("cross-encoder/ms-marco-electra-base",),
    ParameterNames("electra.", projection="embeddings_project"),
    ClassifierNames("classifier.dense", "gelu", "classifier.out_proj"),
    positions=ABSOLUTE_OR_RELATIVE,
    attention=absolute_or_relative,
    ignored=POSITION_IDS,
)
