"""BERT, with absolute or relative positions."""

from rerank_core.engines.packed.architectures.base import (
    ABSOLUTE_OR_RELATIVE,
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
    absolute_or_relative,
)

BERT = Architecture(
    "BERT",
    ("cross-encoder/ms-marco-MiniLM-L6-v2", "lite"),
    ParameterNames("bert."),
    ClassifierNames("bert.pooler.dense", "tanh", "classifier"),
    positions=ABSOLUTE_OR_RELATIVE,
    attention=absolute_or_relative,
    ignored=(*POSITION_IDS, *POOLER),
)
