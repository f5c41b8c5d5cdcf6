"""What a checkpoint is, read from its own configuration, never from its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rerank_core.errors import CheckpointError, InvalidRequest
from rerank_core.sources import Source
from rerank_core.types import Kind

Pooling: TypeAlias = Literal["mean", "cls"]

DEFAULT_MAX_LENGTH = 512

_CLASSIFIER = "ForSequenceClassification"
_LANGUAGE_MODEL = "ForCausalLM"

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

# Language models that were given a classification head: what they read is a prompt, which no checkpoint carries.
_LANGUAGE_MODELS = {
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "llama",
    "minicpm",
    "mistral",
    "phi3",
    "qwen2",
    "qwen3",
}

_TYPE_VOCAB = {"bert": 2, "electra": 2}  # where config.json does not say: transformers' own defaults

_UNLIMITED = 1_000_000  # tokenizer configurations write 1e30 for "no limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model on disk.

    - ``directory`` holds the network's ``config.json``, weights and tokenizer files.
    - ``labels``: the classification head's outputs, in order; empty for a bi-encoder.
    - ``position_limit``: the most tokens the network or its tokenizer can read, None where nothing says.
    - ``suggested_length``: the length the checkpoint itself asks for, where it does.
    - ``has_type_ids``: whether the network reads token types.
    - ``activation``: what the checkpoint would apply to its output.
    """

    name: str
    revision: str | None
    directory: Path
    config: Mapping[str, Any]
    kind: Kind
    labels: tuple[str, ...] = ()
    position_limit: int | None = None
    suggested_length: int | None = None
    has_type_ids: bool = False
    activation: str | None = None
    pooling: Pooling = "mean"
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)

    def max_length(self, wanted: int | None) -> int:
        """The tokens to read: what is wanted, or min(512, what the checkpoint reads).

        Raises ``InvalidRequest`` for more than the checkpoint can read.
        """
        if wanted is None:
            return min(filter(None, (DEFAULT_MAX_LENGTH, self.suggested_length, self.position_limit)))
        if self.position_limit is not None and wanted > self.position_limit:
            raise InvalidRequest(f"max_length is {wanted}, {self.name} reads at most {self.position_limit} tokens")
        if wanted < 8:
            raise InvalidRequest(f"max_length is {wanted}: use at least 8, a pair does not fit into less")
        return wanted

    def label_index(self, wanted: int | str | None) -> int:
        """Which output of the head is the score. Raises ``CheckpointError`` where that cannot be known."""
        if self.kind == "bi-encoder":
            if wanted is not None:
                raise InvalidRequest(f"{self.name} is a bi-encoder, which has no labels: leave label={wanted!r} out")
            return 0
        if wanted is None:
            if len(self.labels) == 1:
                return 0
            raise CheckpointError(
                f"{self.name} has {len(self.labels)} labels ({', '.join(self.labels)}), a reranker has one: "
                "say which one is the score with label="
            )
        if isinstance(wanted, str) and wanted in self.labels:
            return self.labels.index(wanted)
        if isinstance(wanted, int) and 0 <= wanted < len(self.labels):
            return wanted
        raise InvalidRequest(
            f"{self.name} has no label {wanted!r}: use a number below {len(self.labels)} "
            f"or one of {', '.join(self.labels)}"
        )


def read_checkpoint(source: Source) -> Checkpoint:
    """Read a model directory's configuration and check that its weights are there, whole, and safetensors.

    Raises ``CheckpointError`` naming the file that is missing, damaged, or of a model that is not a reranker.
    """
    try:
        return _read_checkpoint(source)
    except (TypeError, ValueError, AttributeError, KeyError) as error:  # a value of another kind than it should be
        if isinstance(error, InvalidRequest):
            raise
        raise CheckpointError(
            f"{source.directory}: config.json or another JSON file there holds a value of the wrong kind ({error})"
        ) from error


def _read_checkpoint(source: Source) -> Checkpoint:
    modules = _read_modules(source.directory / "modules.json")
    directory = source.directory / (str(modules[0].get("path", "")) if modules else "")
    config_path = directory / "config.json"
    if not config_path.exists():
        raise CheckpointError(f"{config_path} is missing: {directory} does not hold a model")
    config = _read_settings(config_path)
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list):
        raise CheckpointError(f"{config_path}: architectures is {architectures!r}, not a list")
    architectures = [str(name) for name in architectures]
    found = ", ".join(architectures) or "no architecture"
    is_cross_encoder = any(_CLASSIFIER in name for name in architectures)

    if config.get("model_type") in _LANGUAGE_MODELS or any(_LANGUAGE_MODEL in name for name in architectures):
        raise CheckpointError(_language_model(config_path, found))
    if not is_cross_encoder and not modules:
        raise CheckpointError(_not_a_reranker(config_path, found))
    _check_weights(directory)

    tokenizer_config = _read_settings(directory / "tokenizer_config.json")
    common: dict[str, Any] = {
        "name": source.name,
        "revision": source.revision,
        "directory": directory,
        "config": config,
        "position_limit": _position_limit(config, tokenizer_config),
        "has_type_ids": config.get("type_vocab_size", _TYPE_VOCAB.get(str(config.get("model_type")), 0)) > 1
        and "token_type_ids" in tokenizer_config.get("model_input_names", ["token_type_ids"]),
    }
    library_config = _read_settings(source.directory / "config_sentence_transformers.json")
    if is_cross_encoder:
        if library_config.get("default_prompt_name"):
            raise CheckpointError(
                f"{source.directory / 'config_sentence_transformers.json'} asks for an instruction before each query "
                "(default_prompt_name): models that take instructions are not supported"
            )
        return Checkpoint(**common, kind="cross-encoder", labels=_labels(config), activation=_activation(config))
    settings = _read_settings(directory / "sentence_bert_config.json")
    return Checkpoint(
        **common,
        kind="bi-encoder",
        suggested_length=settings.get("max_seq_length"),
        pooling=_pooling(source.directory, modules),
        lowercase=bool(settings.get("do_lower_case")),
        prompts=_prompts(library_config),
    )


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory. Raises ``CheckpointError`` where they are missing."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        names = sorted(set(_read_settings(index).get("weight_map", {}).values()))
        if not names:
            raise CheckpointError(f"{index} lists no files")
        for name in names:
            if not (directory / name).exists():
                raise CheckpointError(f"{directory / name} is missing, {index.name} lists it")
        return [directory / name for name in names]
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
    if pickles:
        raise CheckpointError(
            f"{directory / pickles[0]} is a pickle, which can run code when it is loaded, so it never is: "
            f"convert it to safetensors ({directory / 'model.safetensors'} is missing)"
        )
    raise CheckpointError(f"{single} is missing: the directory holds no weights")


def _check_weights(directory: Path) -> None:
    from safetensors import SafetensorError, safe_open

    for path in weight_files(directory):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} ({path.stat().st_size} bytes) is damaged or not complete ({error}): fetch the model again"
            ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: {path.parent} does not hold a model") from None
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _read_settings(path: Path) -> dict[str, Any]:
    """A JSON object; none at all where the file is missing."""
    content = _read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return content


def _language_model(path: Path, found: str) -> str:
    return (
        f"{path} says {found}: a language model, which scores by a prompt that is not part of its files. "
        "LLM rerankers are not supported: use a cross-encoder (...ForSequenceClassification of an encoder)"
    )


def _not_a_reranker(path: Path, found: str) -> str:
    return (
        f"{path} says {found}: neither a cross-encoder (...ForSequenceClassification) "
        "nor a sentence-transformers bi-encoder (which has a modules.json)"
    )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if names:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    return tuple(f"LABEL_{index}" for index in range(config.get("num_labels", 2)))  # transformers' own default


def _position_limit(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int | None:
    limits = []
    if positions := config.get("max_position_embeddings"):
        padding = config.get("pad_token_id")
        offset = (1 if padding is None else padding) + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    if 0 < (read := tokenizer_config.get("model_max_length") or 0) < _UNLIMITED:
        limits.append(int(read))
    return min(limits, default=None)


def _activation(config: Mapping[str, Any]) -> str | None:
    library = config.get("sentence_transformers") or {}
    return library.get("activation_fn") or config.get("sbert_ce_default_activation_function")


def _read_modules(path: Path) -> list[dict[str, Any]]:
    """The modules of a sentence-transformers model, none for any other."""
    modules = _read_json(path) if path.exists() else []
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{path} holds no list of modules")
    return modules


def _pooling(directory: Path, modules: list[dict[str, Any]]) -> Pooling:
    """The bi-encoder's pooling. Raises ``CheckpointError`` for modules that are not ours to run."""
    names = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise CheckpointError(
            f"{directory / 'modules.json'} lists {', '.join(names) or 'nothing'}: "
            "a bi-encoder here is Transformer, Pooling and, if it likes, Normalize"
        )
    path = directory / str(modules[1].get("path", "")) / "config.json"
    config = _read_settings(path)
    wanted = config.get("pooling_mode") or [
        key.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on
    ]
    modes = [wanted] if isinstance(wanted, str) else list(wanted)
    if modes == ["mean"]:
        mode: Pooling = "mean"
    elif modes == ["cls"]:
        mode = "cls"
    else:
        raise CheckpointError(f"{path} asks for {' and '.join(modes) or 'no'} pooling: only mean and cls are supported")
    if config.get("include_prompt", True) is False:
        raise CheckpointError(f"{path} leaves the prompt out of the pooling (include_prompt): not supported")
    return mode


def _prompts(library_config: Mapping[str, Any]) -> dict[str, str]:
    """The prompts of queries and documents, chosen as sentence-transformers' encode_query and encode_document do."""
    prompts = library_config.get("prompts") or {}
    default = prompts.get(library_config.get("default_prompt_name"), "")
    documents = (prompts[name] for name in ("document", "passage", "corpus") if name in prompts)
    return {"query": prompts.get("query", default), "document": next(documents, default)}
