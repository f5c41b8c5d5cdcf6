"""Reads the files of sentence-transformers: a model's modules, its configuration, how embeddings are compared.

Read only where it is the library's model, which has a ``modules.json``. What is not done here is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from rerank_core.checkpoints.chain import Chain, read_chain
from rerank_core.checkpoints.files import is_there, member, read_json, read_settings
from rerank_core.errors import CheckpointError

Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]

MODULES = "modules.json"
CONFIG = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"

LOGIT_SCORE = ("Transformer", "LogitScore")
"""The modules of a causal model that is scored by the logits of its answer."""

# Arguments of the tokenizer's call that change no score, or are what is done here anyway.
_USUAL_ARGUMENTS: dict[str, tuple[object, ...]] = {
    "truncation": (True, "longest_first"),
    "add_special_tokens": (True,),
    "stride": (0,),
}
_NO_EFFECT = {"padding", "padding_side", "pad_to_multiple_of", "return_tensors", "return_attention_mask", "max_length"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The contents of a directory's files of sentence-transformers.

    - ``modules``: the modules' class names, in order; empty for a model of another origin.
    - ``directory``: where the network and the tokenizer lie.
    - ``model_type``: the library's own class for the model.
    - ``suggested_length``: the length the checkpoint asks for, where it does.
    """

    root: Path
    modules: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    transformer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where the network and the tokenizer lie."""
        return self.paths[0] if self.paths else self.root

    @property
    def model_type(self) -> str:
        """The library's own class for the model."""
        return str(self.config.get("model_type") or ("SentenceTransformer" if self.modules else ""))

    @property
    def lowercase(self) -> bool:
        """Whether texts are put into lower case before they are tokenised."""
        value = self.transformer.get("do_lower_case", False)
        if not isinstance(value, bool):
            raise CheckpointError(
                f"{self.directory / TRANSFORMER}: do_lower_case is {value!r:.100}: it is true or false"
            )
        return value

    @property
    def suggested_length(self) -> int | None:
        """The length in tokens that the checkpoint asks for, where it does."""
        arguments = _arguments(self.transformer, self.directory / TRANSFORMER)
        said = [self.transformer.get("max_seq_length"), *(bucket.get("max_length") for bucket in arguments)]
        if self.uses_messages:
            said.append(self.chat_template_arguments.get("max_length"))
        lengths = [length for length in said if length is not None]
        for length in lengths:
            if isinstance(length, bool) or not isinstance(length, int) or length < 1:
                raise CheckpointError(
                    f"{self.directory / TRANSFORMER}: max_seq_length or max_length is {length!r:.100}, "
                    "not a number of tokens"
                )
        return min(lengths, default=None)

    @property
    def uses_messages(self) -> bool:
        """Whether a pair goes through a chat template, as messages of the roles ``query`` and ``document``."""
        return bool(self.modules) and "message" in (self.transformer.get("modality_config") or {})

    @property
    def chat_template_arguments(self) -> Mapping[str, Any]:
        """The arguments of the chat template's rendering."""
        arguments = (self.transformer.get("processing_kwargs") or {}).get("chat_template") or {}
        if not isinstance(arguments, Mapping):
            raise CheckpointError(f"{self.directory / TRANSFORMER}: processing_kwargs.chat_template is not an object")
        return arguments

    @property
    def logit_score(self) -> Path | None:
        """The configuration of the module ``LogitScore``, which may be missing; None without such a module."""
        return self.paths[1] / "config.json" if self.modules == LOGIT_SCORE else None

    def check(self, *tasks: str, output: str) -> None:
        """Refuse settings of the first module that are not supported, by their names."""
        path = self.directory / TRANSFORMER
        said = self.transformer.get("transformer_task", tasks[0])
        if said not in tasks:
            raise CheckpointError(
                f"{path}: transformer_task is {said!r:.100}: only {' and '.join(tasks)} is supported here"
            )
        modalities = self.transformer.get("modality_config")
        if modalities is not None:
            read = modalities.get("message", modalities.get("text")) if isinstance(modalities, Mapping) else None
            if not isinstance(read, Mapping):
                raise CheckpointError(f"{path}: modality_config has no text: a model that reads text is needed")
            method, found = read.get("method", "forward"), read.get("method_output_name")
            if method != "forward" or found not in (None, output):
                raise CheckpointError(
                    f"{path}: modality_config reads {found!r:.100} of {method!r:.100}: only {output} of forward is"
                )
        for name in ("query_length", "document_length"):
            if self.transformer.get(name) is not None:
                raise CheckpointError(f"{path}: {name} is not supported: use max_query_tokens or max_document_tokens")
        for bucket in _arguments(self.transformer, self.directory / TRANSFORMER):
            for name, value in bucket.items():
                if name not in _NO_EFFECT and value not in _USUAL_ARGUMENTS.get(name, ()):
                    raise CheckpointError(
                        f"{path}: processing_kwargs has {name}={value!r:.100}, which is not supported"
                    )

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts of queries and documents, chosen as the library's encode_query and encode_document do."""
        prompts = self._all_prompts()
        default = self.default_prompt
        documents = (prompts[name] for name in ("document", "passage", "corpus") if name in prompts)
        return {"query": prompts.get("query", default), "document": next(documents, default)}

    @property
    def default_prompt(self) -> str:
        """The prompt before every text that has none of its own."""
        prompts, name = self._all_prompts(), self.config.get("default_prompt_name")
        if name is None:
            return ""
        if name not in prompts:
            raise CheckpointError(
                f"{self.root / CONFIG}: default_prompt_name is {name!r:.100}, which prompts does not have"
            )
        return prompts[name]

    def _all_prompts(self) -> Mapping[str, str]:
        prompts = self.config.get("prompts") or {}
        if not isinstance(prompts, Mapping) or not all(isinstance(text, str) for text in prompts.values()):
            raise CheckpointError(f"{self.root / CONFIG}: prompts is not an object of texts")
        return prompts

    @property
    def similarity(self) -> Similarity:
        """The measure that compares two embeddings."""
        name = self.config.get("similarity_fn_name") or "cosine"
        for known in get_args(Similarity):
            if name == known:
                return known  # type: ignore[no-any-return]
        raise CheckpointError(
            f"{self.root / CONFIG}: similarity_fn_name is {name!r:.100}: "
            f"only {', '.join(get_args(Similarity))} are supported"
        )

    @property
    def normalizes(self) -> bool:
        """Whether a module makes unit vectors of the embeddings."""
        return "Normalize" in self.modules

    @property
    def dimensions(self) -> int | None:
        """The first numbers of an embedding, which alone are compared; None: all."""
        value = self.config.get("truncate_dim")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise CheckpointError(f"{self.root / CONFIG}: truncate_dim is {value!r:.100}, not a number of dimensions")
        return value

    @property
    def is_pooled_reranker(self) -> bool:
        """Whether it is a cross-encoder whose modules pool the hidden states and give the scores."""
        return self.model_type == "CrossEncoder" and self.modules[:2] == ("Transformer", "Pooling")

    def chain(self, *, gives_scores: bool) -> Chain:
        """Read the modules behind the network. Raises as ``read_chain``."""
        return read_chain(self.root, self.modules, self.paths, gives_scores=gives_scores)


def read_library(root: Path) -> Library:
    """Read a directory's files of sentence-transformers. Raises ``CheckpointError``."""
    path = root / MODULES
    config = read_settings(root / CONFIG)
    if not is_there(path):
        return Library(root=root, config=config)
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{path} holds no list of modules")
    types = [str(module.get("type", "")) for module in modules]
    foreign = next((name for name in types if not name.startswith("sentence_transformers.")), None)
    if foreign is not None:
        raise CheckpointError(f"{path} lists {foreign[:100] or 'nothing'}, which is code of its own: never run here")
    paths = tuple(member(root, module.get("path", ""), path) for module in modules)
    return Library(
        root=root,
        modules=tuple(name.rpartition(".")[2] for name in types),
        paths=paths,
        config=config,
        transformer=read_settings(paths[0] / TRANSFORMER) if paths else {},
    )


def _arguments(transformer: Mapping[str, Any], path: Path) -> list[Mapping[str, Any]]:
    """Return the arguments of the tokenizer's call on texts."""
    given = transformer.get("processing_kwargs") or {}
    if not isinstance(given, Mapping):
        raise CheckpointError(f"{path}: processing_kwargs is {given!r:.100}, not an object")
    buckets = [given.get(name) or {} for name in ("common", "text")]
    if not all(isinstance(bucket, Mapping) for bucket in buckets):
        raise CheckpointError(f"{path}: processing_kwargs is not an object of objects")
    return buckets
