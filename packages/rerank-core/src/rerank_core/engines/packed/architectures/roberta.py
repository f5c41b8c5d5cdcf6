"""RoBERTa, and XLM-RoBERTa, which differs in its vocabulary only."""

from rerank_core.engines.packed.architectures.base import (
    POOLER,
    POSITION_IDS,
    Architecture,
    ClassifierNames,
    ParameterNames,
)

ROBERTA = Architecture(
    ParameterNames("roberta."),
    ClassifierNames("classifier.dense", "tanh", "classifier.out_proj"),
    offset_positions=True,
    ignored=(*POSITION_IDS, *POOLER),
)
