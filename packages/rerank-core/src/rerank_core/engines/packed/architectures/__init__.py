"""The families that the packed engine runs, by the ``model_type`` of their configuration: one file each."""

from __future__ import annotations

from rerank_core.engines.packed.architectures.base import Architecture
from rerank_core.engines.packed.architectures.bert import BERT
from rerank_core.engines.packed.architectures.deberta import DEBERTA
from rerank_core.engines.packed.architectures.decoder import DecoderArchitecture
from rerank_core.engines.packed.architectures.distilbert import DISTILBERT
from rerank_core.engines.packed.architectures.electra import ELECTRA
from rerank_core.engines.packed.architectures.gemma import GEMMA
from rerank_core.engines.packed.architectures.gte import GTE
from rerank_core.engines.packed.architectures.llama import LLAMA, LLAMA_BIDIRECTIONAL
from rerank_core.engines.packed.architectures.mistral import MISTRAL
from rerank_core.engines.packed.architectures.modernbert import MODERNBERT
from rerank_core.engines.packed.architectures.mpnet import MPNET
from rerank_core.engines.packed.architectures.qwen import QWEN2, QWEN3
from rerank_core.engines.packed.architectures.roberta import (
    CAMEMBERT,
    ROBERTA,
    XLM_ROBERTA,
    XLM_ROBERTA_FLASH,
    XLM_ROBERTA_XL,
)

# Encoders. Where there are several, the names of the parameters decide.
ARCHITECTURES: dict[str, tuple[Architecture, ...]] = {
    "bert": (BERT,),
    "roberta": (ROBERTA,),
    "xlm-roberta": (XLM_ROBERTA, XLM_ROBERTA_FLASH),
    "xlm-roberta-xl": (XLM_ROBERTA_XL,),
    "camembert": (CAMEMBERT,),
    "electra": (ELECTRA,),
    "distilbert": (DISTILBERT,),
    "modernbert": (MODERNBERT,),
    "deberta-v2": (DEBERTA,),
    "mpnet": (MPNET,),
    "new": (GTE,),
}

DECODERS: dict[str, DecoderArchitecture] = {
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "llama": LLAMA,
    "llama_bidirec": LLAMA_BIDIRECTIONAL,
    "mistral": MISTRAL,
    "gemma": GEMMA,
}
