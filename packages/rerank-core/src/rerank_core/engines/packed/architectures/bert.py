"""BERT."""

from rerank_core.engines.packed.architectures.base import (
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
)

BERT = Architecture(
    "BERT",
    ("cross-encoder/ms-marco-MiniLM-L6-v2", "lite"),
    ParameterNames("bert."),
    ClassifierNames("bert.pooler.dense", "tanh", "classifier"),
    ignored=(*POSITION_IDS, *POOLER),
)
