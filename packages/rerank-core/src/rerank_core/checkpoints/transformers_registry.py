"""Model types and tokenizer classes as transformers knows them, looked up without building either.

The families that most checkpoints are of stand in two tables, so that transformers, which takes seconds to import, is
imported for the others only. A test holds the tables against transformers itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelType:
    """A ``model_type``'s entry in transformers' tables.

    - ``tokenizer``: the class that it registers, None where it does not know the type.
    - ``reads_type_ids``: whether the networks' forward pass takes token types.
    - ``is_generative``: whether it was made to continue or to write text, so that it reads a prompt.
    """

    tokenizer: str | None
    reads_type_ids: bool
    is_generative: bool


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """One of transformers' tokenizer classes.

    - ``defaults``: the arguments that it takes, with their defaults. The generic class takes none and uses
      ``tokenizer.json`` as it stands; another one sets what these arguments say.
    - ``gives_type_ids``: whether it gives token types where tokenizer_config.json does not say (``model_input_names``).
    - ``has_file``: whether a ``tokenizer.json`` can hold what it does; otherwise it is a program.
    """

    name: str
    gives_type_ids: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    has_file: bool = True


GENERIC = TokenizerClass("TokenizersBackend")
_GENERIC_NAMES = {"TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast"}

# The arguments that change token ids.
_ARGUMENTS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "keep_accents", "add_prefix_space")

MODEL_TYPES = {
    "bert": ModelType("BertTokenizer", reads_type_ids=True, is_generative=False),
    "distilbert": ModelType("BertTokenizer", reads_type_ids=False, is_generative=False),
    "electra": ModelType("BertTokenizer", reads_type_ids=True, is_generative=False),
    "roberta": ModelType("RobertaTokenizer", reads_type_ids=True, is_generative=False),
    "xlm-roberta": ModelType("XLMRobertaTokenizer", reads_type_ids=True, is_generative=False),
    "xlm-roberta-xl": ModelType("TokenizersBackend", reads_type_ids=True, is_generative=False),
    "deberta-v2": ModelType("DebertaV2Tokenizer", reads_type_ids=True, is_generative=False),
    "modernbert": ModelType("TokenizersBackend", reads_type_ids=False, is_generative=False),
    "mpnet": ModelType("MPNetTokenizer", reads_type_ids=False, is_generative=False),
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_BERT_ARGUMENTS = {
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_BERT = TokenizerClass("BertTokenizer", gives_type_ids=True, defaults=_BERT_ARGUMENTS)
TOKENIZER_CLASSES = {
    "BertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "DistilBertTokenizer": TokenizerClass("DistilBertTokenizer", defaults=_BERT_ARGUMENTS),
    "RobertaTokenizer": TokenizerClass("RobertaTokenizer", defaults={"add_prefix_space": False, **_ROBERTA_TOKENS}),
    "XLMRobertaTokenizer": TokenizerClass(
        "XLMRobertaTokenizer", defaults={"add_prefix_space": True, **_ROBERTA_TOKENS}
    ),
    "DebertaV2Tokenizer": TokenizerClass(
        "DebertaV2Tokenizer",
        gives_type_ids=True,
        defaults={
            "do_lower_case": False,
            "add_prefix_space": True,
            "bos_token": "[CLS]",
            "eos_token": "[SEP]",
            "unk_token": "[UNK]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
        },
    ),
    "MPNetTokenizer": TokenizerClass(
        "MPNetTokenizer",
        defaults={
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            **_ROBERTA_TOKENS,
            "unk_token": "[UNK]",
        },
    ),
}

# Permuted in training, which transformers lists as causal; the network reads both sides of every token.
_BIDIRECTIONAL = {"xlnet"}


# What transformers runs by a checkpoint's own code only.
_FOREIGN = {"new": ModelType(None, reads_type_ids=True, is_generative=False)}


def find_model_type(name: str) -> ModelType:
    """Look up a model type in transformers' tables."""
    return MODEL_TYPES.get(name) or _FOREIGN.get(name) or ask_model_type(name)


def ask_model_type(name: str) -> ModelType:
    """Ask transformers itself.

    A model type is generative where transformers can write text with it, and cannot fill in masked words: BERT and
    its kin are listed for both, since a mask makes decoders of them too.
    """
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    writes = (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )
    is_generative = any(name in mapping for mapping in writes)
    is_generative &= name not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and name not in _BIDIRECTIONAL
    return ModelType(TOKENIZER_MAPPING_NAMES.get(name), _reads_type_ids(name), is_generative)


def is_language_model_class(name: str) -> bool:
    """Return whether transformers has a class of this name for a language model, its network, or a head of labels.

    ``Bidirectional`` in a name says which tokens see each other, and changes neither parameters nor the head.
    """
    from transformers.models.auto import modeling_auto as auto

    mappings: tuple[Mapping[str, Any], ...] = (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    )
    wanted = name.replace("Bidirectional", "")
    found = (listed for mapping in mappings for listed in mapping.values())
    return any(wanted == listed or (isinstance(listed, tuple) and wanted in listed) for listed in found)


def _reads_type_ids(name: str) -> bool:
    import inspect

    from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_MAPPING

    config = CONFIG_MAPPING[name] if name in CONFIG_MAPPING else None  # noqa: SIM401 (its get knows fewer)
    for mapping in (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_MAPPING):
        if config is not None and config in mapping:
            found = mapping[config]
            network: Any = found[0] if isinstance(found, tuple) else found
            return "token_type_ids" in inspect.signature(network.forward).parameters
    return False


def find_tokenizer_class(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> TokenizerClass:
    """Find the class that transformers chooses for a checkpoint, by its two configuration files."""
    model_type = str(config.get("model_type"))
    registered = (find_model_type(model_type).tokenizer or "").removesuffix("Fast")
    declared = str(tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class") or "").removesuffix("Fast")
    if declared and registered and declared != registered:
        if registered in _GENERIC_NAMES:
            return GENERIC
        declared = registered if _is_wrong_in_public(model_type) else declared
    name = declared or registered
    if not name or name in _GENERIC_NAMES:
        return GENERIC
    return TOKENIZER_CLASSES.get(name) or ask_tokenizer_class(name)


def _is_wrong_in_public(model_type: str) -> bool:
    """Return whether transformers knows the class that public checkpoints of a model type declare to be wrong."""
    if model_type in MODEL_TYPES:
        return False
    from transformers.models.auto.tokenization_auto import MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS

    return model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS


def ask_tokenizer_class(name: str) -> TokenizerClass:
    """Ask transformers itself; a class that it does not know is the generic one."""
    import inspect

    from transformers import TokenizersBackend
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    found = tokenizer_class_from_name(name) or tokenizer_class_from_name(name + "Fast")
    if found is None or found.__name__ in _GENERIC_NAMES:
        return GENERIC
    has_file = issubclass(found, TokenizersBackend)
    classes = found.__mro__[: found.__mro__.index(TokenizersBackend)] if has_file else [found]
    defaults = {
        argument.name: argument.default
        for each in reversed(classes)
        for argument in inspect.signature(each).parameters.values()
        if argument.name in _ARGUMENTS or (argument.name.endswith("_token") and isinstance(argument.default, str))
    }
    return TokenizerClass(found.__name__, "token_type_ids" in found.model_input_names, defaults, has_file)
