"""Tiny random checkpoints on disk, so that the real loading code runs in tests without any download."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.types import Kind

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

_TEXT = """
the a of in to is and what where does live lives giant panda bear species endemic china paris capital france
query passage bamboo eats day trains mountains central switzerland word hello world
"""
WORDS = _TEXT.split()

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _SIZES | {"max_position_embeddings": 128},
    "albert": _SIZES | {"max_position_embeddings": 128, "embedding_size": 16},
    "electra": _SIZES | {"max_position_embeddings": 128, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 128},
    "roberta": _SIZES | {"max_position_embeddings": 130, "type_vocab_size": 1},
    "xlm-roberta": _SIZES | {"max_position_embeddings": 130, "type_vocab_size": 1},
    "xlm-roberta-xl": _SIZES | {"max_position_embeddings": 130, "type_vocab_size": 1},
    "camembert": _SIZES | {"max_position_embeddings": 130, "type_vocab_size": 1},
    "mpnet": _SIZES | {"max_position_embeddings": 130},
    "modernbert": _SIZES
    | {
        "max_position_embeddings": 128,
        "global_attn_every_n_layers": 2,
        "local_attention": 16,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),  # none in this vocabulary
    },
    "deberta-v2": _SIZES
    | {
        "max_position_embeddings": 128,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
}
# Networks of a family that differ from its usual ones.
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-relative": ("bert", {"position_embedding_type": "relative_key_query"}),
    "deberta-v2-convolution": ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
}


def write_tiny_checkpoint(
    directory: Path,
    family: str = "bert",
    *,
    kind: Kind = "cross-encoder",
    labels: int = 1,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a random two-layer model and its tokenizer: 128 tokens, lower case, characters and a few words.

    ``family`` is one of transformers' model types (bert, albert, electra, distilbert, roberta, xlm-roberta,
    xlm-roberta-xl, camembert, mpnet, modernbert, deberta-v2), or bert-relative (with relative positions) or
    deberta-v2-convolution; ``config`` changes fields of its configuration. A bi-encoder is written in the layout of
    sentence-transformers, with mean pooling.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    from rerank_core.engines.reference import no_progress_bar

    family, special = _VARIANTS.get(family, (family, {}))
    sentencepiece = family in {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}
    tokenizer = _unigram_tokenizer() if sentencepiece else _wordpiece_tokenizer()
    pad = tokenizer.token_to_id("<pad>" if sentencepiece else "[PAD]")
    fields = _FAMILIES[family] | special | dict(config or {})
    network = AutoConfig.for_model(
        family, vocab_size=tokenizer.get_vocab_size(), num_labels=labels, pad_token_id=pad, **fields
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        auto = AutoModel if kind == "bi-encoder" else AutoModelForSequenceClassification
        model = auto.from_config(network).eval()
        if "relative" in str(fields.get("position_embedding_type")):
            _add_distances(model, rows=2 * network.max_position_embeddings - 1)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embeddings" not in name:
                # In a wide network sums of products this large would make every rounding error visible.
                torch.nn.init.normal_(parameter, 0.0, 0.25 * min(1.0, (64 / parameter.shape[1]) ** 0.5))
            elif name.endswith("bias"):
                torch.nn.init.normal_(parameter, 0.0, 0.05)
    directory.mkdir(parents=True, exist_ok=True)
    with no_progress_bar():
        model.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    reads_types = ["token_type_ids"] if getattr(network, "type_vocab_size", 0) > 1 else []
    tokenizer_config = {
        "model_max_length": (config or {}).get("max_position_embeddings", 128),
        "tokenizer_class": "TokenizersBackend",
        "model_input_names": ["input_ids", *reads_types, "attention_mask"],
        "pad_token": "<pad>" if sentencepiece else "[PAD]",
    }
    _write_json(directory / "tokenizer_config.json", tokenizer_config)
    if kind == "bi-encoder":
        _write_modules(directory, hidden=network.hidden_size)
    return directory


def _add_distances(model: torch.nn.Module, *, rows: int) -> None:
    """Give each layer's attention the table of relative positions that BERT had in transformers 4."""
    import torch

    for name, module in list(model.named_modules()):
        if name.endswith("attention.self"):
            width = int(getattr(module, "attention_head_size", 0))
            module.distance_embedding = torch.nn.Embedding(rows, width)


def _write_modules(directory: Path, *, hidden: int) -> None:
    names = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for index, name in enumerate(names)
    ]
    _write_json(directory / "modules.json", modules)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    (directory / "1_Pooling").mkdir(exist_ok=True)
    _write_json(
        directory / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True}
    )


def edit_json(path: Path, **changes: object) -> None:
    """Set fields of a JSON file, which is made where there is none."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    _write_json(path, content | changes)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))


def _wordpiece_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 (a token, not a password)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


def _unigram_tokenizer() -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    characters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *characters, *(f"▁{word}" for word in WORDS)]
    scored = [(piece, -float(rank)) for rank, piece in enumerate(dict.fromkeys(pieces))]
    scored = [(piece, -1.0 if len(piece) > 2 else score) for piece, score in scored]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer
