"""Reads a checkpoint: its kind, its head and its limits come from its own files, never from its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core.checkpoints.files import is_there, read_settings
from rerank_core.checkpoints.heads import Classification, Head, Pooling
from rerank_core.checkpoints.language_model import LanguageModelFiles, PromptChoice
from rerank_core.checkpoints.prompt import Prompt
from rerank_core.checkpoints.recipes import NONE
from rerank_core.checkpoints.sentence_transformers import CONFIG, LOGIT_SCORE, TRANSFORMER, Library, read_library
from rerank_core.checkpoints.sources import Source
from rerank_core.checkpoints.tokenizer_files import gives_type_ids
from rerank_core.checkpoints.training_output import check_is_model
from rerank_core.checkpoints.transformers_registry import find_model_type, is_language_model_class
from rerank_core.checkpoints.weights import count_tensors
from rerank_core.errors import CheckpointError, InvalidRequest

DEFAULT_MAX_LENGTH = 512
_LEAST_LENGTH = 8  # tokens: less holds no pair

_CLASSIFIER = "ForSequenceClassification"
_LANGUAGE_MODELS = ("ForCausalLM", "ForConditionalGeneration")

# Rerankers that are scored neither by an answer nor by a row of their own, whatever code they bring along.
_OTHER_KINDS = {
    "JinaForRanking": "a listwise model, whose scores depend on all documents of a request",
    "JinaVLForRanking": "a model with a head of several layers behind a marked token",
    "LayerWiseMiniCPMForCausalLM": "a layerwise model, which scores in a middle layer",
    "CostWiseGemmaForCausalLM": "a layerwise model, which scores in a middle layer and joins tokens before",
}

# Families whose position ids start behind the padding id, so that two positions of the table are never used.
_OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
}

_TYPE_VOCAB = {
    "bert": 2,
    "electra": 2,
    "roberta": 2,
    "xlm-roberta": 2,
    "xlm-roberta-xl": 1,
}  # transformers' own, where config.json is silent

_UNLIMITED = 1_000_000  # tokenizer configurations write 1e30 for "no limit"

# Sizes of a network, by the names of many families; a number of layers ends in "layers" or "layer".
_SIZES = {
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "embedding_size",
    "num_attention_heads",
    "max_position_embeddings",
    "dim",
    "hidden_dim",
    "n_heads",
    "n_head",
    "d_model",
    "d_inner",
    "d_ff",
    "d_kv",
}
# Numbers of modules, each with parameters of its own, beside those that end in "layers" or "layer".
_MODULES = {"block_sizes", "block_repeats", "num_hidden_groups", "inner_group_num", "num_feedforward_networks"}
_NO_LAYERS = {"max_window_layers"}  # the number of a layer, which may lie behind the last
_LEAST = {"max_position_embeddings": -1}  # XLNet and its like write -1 for "no limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model on disk.

    - ``root`` holds all of the model's files, ``directory`` (nearly always the same) the network's ``config.json``,
      weights and tokenizer files.
    - ``head``: what stands on the network.
    - ``position_limit``: the most tokens the network or its tokenizer can read, None where nothing says.
    - ``suggested_length``: the length the checkpoint itself asks for, where it does.
    - ``has_type_ids``: whether the network reads token types.
    - ``type_rows``: the rows of the table of token types, None where nothing says.
    - ``activation``: what the checkpoint would apply to its output.
    - ``lowercase``: whether sentence-transformers' files ask for lower case.
    - ``prompt``: the text around a query and a document, None where the tokenizer alone makes one text of the two.
    - ``recipe``: where the prompt comes from: the name of a recipe, or that of a template.
    - ``is_causal``: whether each token of the network sees only those before it.
    """

    name: str
    revision: str | None
    root: Path
    directory: Path
    config: Mapping[str, Any]
    head: Head
    position_limit: int | None = None
    suggested_length: int | None = None
    has_type_ids: bool = False
    type_rows: int | None = None
    activation: str | None = None
    lowercase: bool = False
    prompt: Prompt | None = None
    recipe: str | None = None
    is_causal: bool = False

    def max_length(self, wanted: int | None) -> int:
        """Choose the tokens to read: ``wanted``, or min(512, what the checkpoint asks for, what it reads).

        Raises ``InvalidRequest`` for more than the checkpoint can read, and ``CheckpointError`` where it asks for less
        than a pair needs.
        """
        if wanted is None:
            length = min(filter(None, (DEFAULT_MAX_LENGTH, self.suggested_length, self.position_limit)))
            if length < _LEAST_LENGTH:
                raise CheckpointError(
                    f"{self.directory} asks for {length} tokens: a pair needs at least {_LEAST_LENGTH}"
                )
            return length
        if self.position_limit is not None and wanted > self.position_limit:
            raise InvalidRequest(f"max_length={wanted}, and {self.name} reads at most {self.position_limit} tokens")
        if wanted < _LEAST_LENGTH:
            raise InvalidRequest(f"max_length={wanted}: use at least {_LEAST_LENGTH}, a pair does not fit into less")
        return wanted


def read_checkpoint(source: Source, wanted: PromptChoice = PromptChoice()) -> Checkpoint:
    """Read a model directory's configuration and check that its weights are there, whole, and safetensors.

    ``wanted``: the prompt that the user asks for.
    Raises ``CheckpointError`` naming the file that is missing, damaged, or of a model that is not a reranker, and
    ``InvalidRequest`` for a prompt that the model cannot have.
    """
    try:
        return _read_checkpoint(source, wanted)
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, OSError) as error:
        # A value of another kind than it should be, or a directory that goes away while it is read.
        if isinstance(error, InvalidRequest):
            raise
        raise CheckpointError(
            f"{source.directory}: config.json or another JSON file there holds a value of the wrong kind ({error})"
        ) from error


def _read_checkpoint(source: Source, wanted: PromptChoice) -> Checkpoint:
    library = read_library(source.directory)
    directory = library.directory
    config_path = directory / "config.json"
    check_is_model(directory)
    if not is_there(config_path):
        raise CheckpointError(f"{config_path} is missing: {directory} does not hold a model")
    config = read_settings(config_path)
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        raise CheckpointError(f"{config_path}: architectures is {architectures!r:.100}, not a list")
    architectures = [str(name) for name in architectures]
    found = ", ".join(architectures) or "no architecture"

    _check_architecture(config_path, config, found)
    is_classifier = any(_CLASSIFIER in name for name in architectures)
    is_plain_classifier = is_classifier and library.modules in ((), ("Transformer",))
    is_language_model = _is_language_model(config, architectures)
    has_token_logits = is_language_model and not is_classifier and library.modules in ((), LOGIT_SCORE)
    if is_language_model:
        _check_classes(config_path, config, architectures, is_pooled="Pooling" in library.modules)
    is_cross_encoder = is_plain_classifier or library.is_pooled_reranker
    if not is_cross_encoder and not has_token_logits:
        _check_library(library, config_path, found, is_language_model=is_language_model)
    _check_sizes(config_path, config, count_tensors(directory))

    _check_recipe(config_path, found, wanted, is_language_model=is_language_model)
    files = LanguageModelFiles(library, config, architectures, wanted, hub_name=source.name if source.is_of_hub else "")
    head = _head(config_path, config, library, files, is_plain_classifier, is_cross_encoder, has_token_logits)
    if isinstance(head, Pooling):
        _check_bi_encoder(source, library, wanted)
        prompt, recipe = None, None
    else:
        prompt, recipe = files.prompt()
        if is_language_model and recipe is None:
            raise CheckpointError(files.unknown())

    tokenizer_config = read_settings(directory / "tokenizer_config.json")
    type_rows = config.get("type_vocab_size", _TYPE_VOCAB.get(str(config["model_type"])))
    if type_rows is not None and (isinstance(type_rows, bool) or not isinstance(type_rows, int) or type_rows < 0):
        raise CheckpointError(f"{config_path}: type_vocab_size is {type_rows!r:.100}, not a number of rows")
    return Checkpoint(
        name=source.name,
        revision=source.revision,
        root=source.directory,
        directory=directory,
        config=config,
        head=head,
        position_limit=_position_limit(config_path, config, tokenizer_config),
        suggested_length=library.suggested_length,
        type_rows=type_rows,
        has_type_ids=type_rows != 0
        and find_model_type(str(config["model_type"])).reads_type_ids
        and gives_type_ids(config, tokenizer_config),
        activation=None if isinstance(head, Pooling) else _activation(config, library),
        lowercase=library.lowercase,
        prompt=prompt,
        recipe=recipe,
        is_causal=is_language_model and not is_bidirectional(config, architectures),
    )


def _head(
    config_path: Path,
    config: Mapping[str, Any],
    library: Library,
    files: LanguageModelFiles,
    is_plain_classifier: bool,
    is_cross_encoder: bool,
    has_token_logits: bool,
) -> Head:
    """Read what stands on the network."""
    before_query = "" if library.uses_messages else library.default_prompt
    if has_token_logits:
        if config.get("is_encoder_decoder"):
            raise CheckpointError(f"{config_path} is of an encoder with a decoder (is_encoder_decoder): not supported")
        library.check("text-generation", "any-to-any", output="logits")
        return files.token_logits()
    if is_plain_classifier:
        library.check("sequence-classification", output="logits")
        return Classification(
            labels=_labels(config_path, config),
            is_library_reranker=library.model_type == "CrossEncoder" or _activation(config, library) is not None,
            has_answers=files.has_two_answers(),
            prompt=before_query,
        )
    library.check("feature-extraction", output="last_hidden_state")
    chain = library.chain(gives_scores=is_cross_encoder)
    if is_cross_encoder:
        return Classification(
            labels=tuple(f"LABEL_{index}" for index in range(chain.outputs or 0)),
            is_library_reranker=True,
            chain=chain,
            prompt=before_query,
        )
    return Pooling(
        chain=chain,
        similarity=library.similarity,
        normalizes=library.normalizes,
        dimensions=library.dimensions,
        prompts=library.prompts,
    )


def is_bidirectional(config: Mapping[str, Any], architectures: list[str]) -> bool:
    """Return whether the tokens of a language model's network see each other."""
    return (
        config.get("is_causal") is False
        or bool(config.get("use_bidirectional_attention"))
        or any("bidirec" in name.lower() for name in (str(config["model_type"]), *architectures))
    )


def _check_bi_encoder(source: Source, library: Library, wanted: PromptChoice) -> None:
    """Refuse a bi-encoder that embeds messages, and a prompt that would stand around a pair."""
    if library.uses_messages:
        raise CheckpointError(
            f"{library.directory / TRANSFORMER}: modality_config has a message, so texts go through a chat template: "
            "a bi-encoder with one is not supported"
        )
    if wanted.recipe is not None or wanted.template is not None:
        raise InvalidRequest(f"{source.name} is a bi-encoder, which has no prompt: leave recipe= and template= out")


def _check_recipe(path: Path, found: str, wanted: PromptChoice, *, is_language_model: bool) -> None:
    if wanted.recipe not in (None, NONE) and not is_language_model:
        raise InvalidRequest(
            f"{path} is of an encoder ({found}), and recipe={wanted.recipe!r} is the prompt of a language model: "
            "leave it out"
        )


def _check_architecture(path: Path, config: Mapping[str, Any], found: str) -> None:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise CheckpointError(f"{path} says {found} and no model_type: it does not say which network it is of")
    within = [("", config), *((f"{name}.", part) for name, part in config.items() if isinstance(part, Mapping))]
    for place, part in within:  # a model of several networks has a configuration for each
        for name in ("quantization_config", "compression_config"):
            if part.get(name):
                raise CheckpointError(f"{path} has a {place}{name}: quantised weights are not supported")


def _check_classes(path: Path, config: Mapping[str, Any], architectures: list[str], *, is_pooled: bool) -> None:
    """Refuse a language model of a class that is none of those whose scores are known.

    Its layers may be those of a reranker of pairs, and a recipe that the user names fits it by mistake. A class of the
    checkpoint's own for the head that it has stays: an engine knows it, or runs its code where that is allowed.
    """
    code = config.get("auto_map")
    own = code if isinstance(code, Mapping) else {}
    heads = ("AutoModel",) if is_pooled else ("AutoModelForCausalLM", "AutoModelForSequenceClassification")
    own_names = {str(own.get(head)).rpartition(".")[2] for head in heads}
    for name in architectures:
        kind = _OTHER_KINDS.get(name)
        if kind is not None:
            raise CheckpointError(f"{path} says {name}: {kind}, is not supported")
        if not is_language_model_class(name) and name not in own_names:
            raise CheckpointError(
                f"{path} says {name}, which is no class of language models that is known: its scores would be "
                "computed in another way than those of the model that was trained; it is not supported"
            )


def _is_language_model(config: Mapping[str, Any], architectures: list[str]) -> bool:
    return (
        any(name.endswith(_LANGUAGE_MODELS) for name in architectures)
        or config.get("is_decoder") is True
        or find_model_type(str(config["model_type"])).is_generative
    )


def _check_library(library: Library, config_path: Path, found: str, *, is_language_model: bool) -> None:
    """Refuse what is neither a cross-encoder nor a bi-encoder."""
    if is_language_model:
        raise CheckpointError(
            f"{config_path} says {found}, a language model, and modules.json lists {', '.join(library.modules)}: only "
            f"a reranker that is {' and '.join(LOGIT_SCORE)}, or Transformer, Pooling and Dense layers, is supported"
        )
    if not library.modules:
        raise CheckpointError(_not_a_reranker(config_path, found))
    if library.model_type != "SentenceTransformer":
        raise CheckpointError(
            f"{library.root / CONFIG} says {library.model_type}, and modules.json lists {', '.join(library.modules)}: "
            "only a cross-encoder that is one Transformer with a classification head, or Transformer, Pooling and "
            "Dense layers, is supported, or a bi-encoder of the class SentenceTransformer"
        )


def _check_sizes(path: Path, config: Mapping[str, Any], tensors: int) -> None:
    """Refuse sizes that cannot be, before anything is built with them.

    A layer has parameters of its own, so there cannot be more layers than tensors. Families that share parameters
    between layers have fewer layers than tensors too.
    """
    for name, value in config.items():
        is_layers = (name.endswith(("layers", "layer")) and name not in _NO_LAYERS) or name in _MODULES
        if name not in _SIZES and not is_layers:
            continue
        if is_layers and isinstance(value, list | dict | bool):  # one value a layer, or a switch
            value = [count for count in value if type(count) is int] if isinstance(value, list) else None
        for count in value if isinstance(value, list) else [value]:
            if count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, int):
                raise CheckpointError(f"{path}: {name} is {value!r:.100}, not a number")
            if count < _LEAST.get(name, 0 if is_layers else 1):
                raise CheckpointError(f"{path}: {name} is {count}: that is no size of a network")
            if is_layers and count > tensors:
                raise CheckpointError(f"{path}: {name} is {count}, and the weights have {tensors} tensors in all")


def _not_a_reranker(path: Path, found: str) -> str:
    return (
        f"{path} says {found}: neither a cross-encoder (...ForSequenceClassification) "
        "nor a sentence-transformers bi-encoder (which has a modules.json)"
    )


def _labels(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    names, count = config.get("id2label"), config.get("num_labels")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 10_000):
        raise CheckpointError(f"{path}: num_labels is {count!r:.100}, not a number of labels")
    if not names:
        return tuple(f"LABEL_{index}" for index in range(2 if count is None else count))  # transformers' own default
    if count is not None and count != len(names):
        raise CheckpointError(f"{path}: num_labels is {count}, and id2label names {len(names)} labels")
    return tuple(str(names[key]) for key in sorted(names, key=int))


def _position_limit(path: Path, config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int | None:
    limits = []
    positions = (config.get("text_config") or config).get("max_position_embeddings")
    if positions and positions > 0:
        padding = 1 if config["model_type"] == "mpnet" else config.get("pad_token_id")  # mpnet: the network's own
        offset = (1 if padding is None else padding) + 1 if config["model_type"] in _OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    if 0 < (read := tokenizer_config.get("model_max_length") or 0) < _UNLIMITED:
        limits.append(int(read))
    limit = min(limits, default=None)
    if limit is not None and limit < _LEAST_LENGTH:
        raise CheckpointError(
            f"{path} and tokenizer_config.json leave {limit} positions for tokens (max_position_embeddings, "
            f"model_max_length): a pair needs at least {_LEAST_LENGTH}"
        )
    return limit


def _activation(config: Mapping[str, Any], library: Library) -> str | None:
    in_config = config.get("sentence_transformers") or {}
    found = (
        library.config.get("activation_fn")
        or in_config.get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
    )
    return None if found is None else str(found)[:200]
