"""The families of encoders that the packed engine runs, by the ``model_type`` of their configuration: one file each."""

from __future__ import annotations

from rerank_core.engines.packed.architectures.base import Architecture
from rerank_core.engines.packed.architectures.bert import BERT
from rerank_core.engines.packed.architectures.distilbert import DISTILBERT
from rerank_core.engines.packed.architectures.electra import ELECTRA
from rerank_core.engines.packed.architectures.roberta import ROBERTA

ARCHITECTURES: dict[str, Architecture] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "electra": ELECTRA,
    "distilbert": DISTILBERT,
}
