"""Tiny random language models on disk, with tokenizers that split text as their families' do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LanguageModelHead: TypeAlias = Literal["causal", "sequence-classification"]

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")

_TEXT = """
What is a giant panda? Where does it live? The giant panda is a bear species endemic to China. It eats bamboo all day.
Paris is the capital of France. Trains cross the mountains of central Switzerland. hello world, the word of the day.
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer
can only be yes or no. Given a web search query, retrieve relevant passages that answer the query.
system user assistant <Instruct>: <Query>: <Document>: query: document: instruction: A: B: question:passage:
"""
# Words that are one token at the beginning of a text, and behind a space.
_WORDS = "yes no Yes No panda china"

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "max_position_embeddings": 1024,
}
_FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {},
    "llama": {},
    "mistral": {"sliding_window": None},
    "gemma": {"num_key_value_heads": 1},
}


def write_tiny_language_model(
    directory: Path,
    family: str = "qwen3",
    *,
    head: LanguageModelHead = "causal",
    labels: int = 1,
    tied: bool = True,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Write a random two-layer decoder and its tokenizer.

    ``family``: qwen2, qwen3, llama, mistral or gemma; ``config`` changes fields of its configuration. The tokenizers
    are those of Qwen, Llama 3, Mistral and Gemma with few merges: "yes", "no" and a few other words are one token,
    also behind a space.
    ``tied``: a causal head reads the token embeddings. ``card``: the text of README.md.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    from rerank_core.engines.reference import no_progress_bar

    tokenizer, tokens = tiny_tokenizer(family), _TOKENS[family]
    ids = {f"{name}_id": tokenizer.token_to_id(token) for name, token in tokens.items() if name != "unk_token"}
    fields = _SIZES | _FAMILIES[family] | {"tie_word_embeddings": tied, **ids} | dict(config or {})
    network = AutoConfig.for_model(family, vocab_size=tokenizer.get_vocab_size() + 3, num_labels=labels, **fields)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        auto: Any = AutoModelForCausalLM if head == "causal" else AutoModelForSequenceClassification
        model = auto.from_config(network).eval()
        for parameter in model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, 0.0, 0.25)
            else:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    directory.mkdir(parents=True, exist_ok=True)
    with no_progress_bar():
        model.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "model_max_length": fields["max_position_embeddings"],
        "tokenizer_class": _CLASSES[family],
        "model_input_names": ["input_ids", "attention_mask"],
        **tokens,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    if card:
        (directory / "README.md").write_text(card, encoding="utf-8")
    return directory


def tiny_tokenizer(family: str) -> Tokenizer:
    """Make the tokenizer of a tiny language model."""
    return _TOKENIZERS[family]()


def write_prompt(
    directory: Path,
    template: str,
    *,
    true_id: int | None = None,
    false_id: int | None = None,
    chat_template: Mapping[str, Any] | None = None,
    message_format: str = "flat",
    **config: object,
) -> None:
    """Write the files by which sentence-transformers declares that a model is scored by a chat template.

    ``true_id``, ``false_id``: of a causal model; a model with a head of its own has none. ``chat_template``: arguments
    of the rendering. ``config``: fields of config_sentence_transformers.json, such as ``prompts``.
    """
    library = "sentence_transformers"
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{library}.base.modules.transformer.Transformer"}]
    task, output = "sequence-classification", "scores"
    if true_id is not None:
        kind = f"{library}.cross_encoder.modules.logit_score.LogitScore"
        modules.append({"idx": 1, "name": "1", "path": "1_LogitScore", "type": kind})
        task, output = "text-generation", "causal_logits"
        (directory / "1_LogitScore").mkdir(exist_ok=True)
        _write(directory / "1_LogitScore" / "config.json", {"true_token_id": true_id, "false_token_id": false_id})
    _write(directory / "modules.json", modules)
    _write(directory / "config_sentence_transformers.json", {"model_type": "CrossEncoder", **config})
    reads = {"method": "forward", "method_output_name": "logits"}
    transformer = {
        "transformer_task": task,
        "modality_config": {"text": reads, "message": {**reads, "format": message_format}},
        "module_output_name": output,
        "processing_kwargs": {"chat_template": dict(chat_template or {})},
    }
    _write(directory / "sentence_bert_config.json", transformer)
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")


def write_chain(directory: Path, template: str, *, seed: int = 0) -> None:
    """Write the files of a head that sentence-transformers keeps beside a decoder: the last token's state, then Dense.

    The directory holds a causal model, whose own head nothing reads then.
    """
    import torch
    from safetensors.torch import save_file

    write_prompt(directory, template)
    hidden, library = _SIZES["hidden_size"], "sentence_transformers"
    heads = {"1_Pooling": "sentence_transformer.modules.pooling.Pooling", "2_Dense": "base.modules.dense.Dense"}
    modules = json.loads((directory / "modules.json").read_text())
    for name, kind in heads.items():
        (directory / name).mkdir(exist_ok=True)
        modules.append({"idx": len(modules), "name": name[0], "path": name, "type": f"{library}.{kind}"})
    _write(directory / "modules.json", modules)
    pooling = {"embedding_dimension": hidden, "pooling_mode": "lasttoken", "include_prompt": True}
    _write(directory / "1_Pooling" / "config.json", pooling)
    dense = {"in_features": hidden, "out_features": 1, "bias": False, "module_output_name": "scores"}
    dense |= {"activation_function": "torch.nn.modules.linear.Identity", "module_input_name": "sentence_embedding"}
    _write(directory / "2_Dense" / "config.json", dense)
    weight = torch.randn(1, hidden, generator=torch.Generator().manual_seed(seed)) / 8
    save_file({"linear.weight": weight}, directory / "2_Dense" / "model.safetensors")
    states = {"method": "forward", "method_output_name": "last_hidden_state"}
    reads = {"text": states, "message": {**states, "format": "flat"}}
    transformer = json.loads((directory / "sentence_bert_config.json").read_text()) | {"modality_config": reads}
    transformer |= {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    _write(directory / "sentence_bert_config.json", transformer)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2))


def _byte_level(pattern: str) -> Tokenizer:
    """Train byte-level BPE on a few sentences; words are split off as ``pattern`` says."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.NFC(), decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    words = [*_WORDS.split(), *(f" {word}" for word in _WORDS.split())]
    tokenizer.train_from_iterator([*words * 50, *["?\n", ".\n", " +"] * 50, _TEXT], trainer)
    return tokenizer


def _qwen() -> Tokenizer:
    from tokenizers import AddedToken

    tokenizer = _byte_level(QWEN)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "</think>")])
    return tokenizer


def _llama() -> Tokenizer:
    from tokenizers import processors

    tokenizer = _byte_level(LLAMA3)
    tokenizer.normalizer = None
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def _byte_fallback(special: list[str], bos: str) -> Tokenizer:
    """Train BPE with byte fallback and a mark in place of each space, as SentencePiece's are converted."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106 (a token)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # in training only
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    lines = [f" {line}" for line in _TEXT.split("\n")]
    tokenizer.train_from_iterator([*_WORDS.split() * 50, *(f" {word}" for word in _WORDS.split()), *lines], trainer)
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] in special]
    described["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def _gemma() -> Tokenizer:
    from tokenizers import pre_tokenizers

    tokenizer = _byte_fallback(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"], "<bos>")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return tokenizer


def _mistral() -> Tokenizer:
    from tokenizers import normalizers

    tokenizer = _byte_fallback(["<unk>", "<s>", "</s>"], "<s>")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


_TOKENIZERS = {"qwen2": _qwen, "qwen3": _qwen, "llama": _llama, "mistral": _mistral, "gemma": _gemma}
_CLASSES = {
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "llama": "PreTrainedTokenizerFast",
    "mistral": "PreTrainedTokenizerFast",
    "gemma": "GemmaTokenizer",
}
_QWEN_TOKENS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_TOKENS = {
    "qwen2": _QWEN_TOKENS,
    "qwen3": _QWEN_TOKENS,
    "llama": {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "pad_token": "<|finetune_right_pad_id|>",
    },
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
}
