"""The options of loading a model: names, defaults and help, for ``load`` and for every command that loads one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rerank_core.checkpoints.language_model import PromptChoice
from rerank_core.errors import InvalidRequest
from rerank_core.types import LongDocuments, ScoreOptions, Truncation
from rerank_core.valid_text import check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options of ``load``. ``help_of`` describes each.

    Raises ``InvalidRequest`` for a value that is wrong whatever the model is.
    """

    revision: str | None = field(default=None, metadata={"help": "The branch, tag or commit of a hub model."})
    device: str = field(default="auto", metadata={"help": "`auto`, `cpu`, `cuda`, `cuda:1`, ... or `mps`."})
    dtype: str = field(
        default="auto",
        metadata={
            "help": "The data type to compute in. `auto` is float32. A CPU also has `float16-weights` (half the "
            "memory, nearly exact), `bfloat16` and `int8` (faster, less exact: see `docs/performance.md`), a GPU "
            "`float16` and `bfloat16`."
        },
    )
    engine: str = field(
        default="auto",
        metadata={
            "help": "The engine that runs the model: `packed` is the fast one, `reference` is plain transformers."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "The maximum number of tokens of a pair. Without it: 512, or fewer if the model reads fewer."
        },
    )
    truncation: Truncation = field(
        default="longest_first",
        metadata={"help": "The text of a longer pair that is truncated: the longer text first, or only the document."},
    )
    long_documents: LongDocuments = field(
        default="truncate",
        metadata={
            "help": "How a document is scored that is longer than the model reads, unless the request sets it: "
            "`truncate` truncates it, `chunk` scores all of its windows, and takes as much longer."
        },
    )
    recipe: str | None = field(
        default=None,
        metadata={
            "help": "The recipe of a language model: its prompt, and the tokens that are the score "
            "(`docs/models.md` lists them). Without it: what the checkpoint's files say. `none` asks for no prompt."
        },
    )
    template: str | None = field(
        default=None,
        metadata={
            "help": "A prompt of your own: a Jinja template over messages of the roles `query` and `document`, or the "
            "path of a file that holds one."
        },
    )
    instruction: str | None = field(
        default=None,
        metadata={
            "help": "The instruction of a request that has none, for a model that takes one. Without it: the model's "
            "own."
        },
    )
    calibration: str | Path | Sequence[float] | None = field(
        default=None,
        metadata={
            "help": "`a,b`, or a file of `rerank eval --calibrate`: scores in [0, 1] are then sigmoid(a * raw + b), "
            "instead of sigmoid(raw)."
        },
    )
    label: int | str | None = field(
        default=None,
        metadata={"help": "The output that is the score, by its number or name, for a model with several outputs."},
    )
    threads: int | None = field(
        default=None,
        metadata={"help": "The number of CPU threads of the model. Without it: as many as the process may use."},
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run Python code of the checkpoint."})
    max_characters: int | None = field(
        default=None,
        metadata={
            "help": "The maximum number of characters that are read of a text for windows, and by a tokenizer that "
            "cannot read only the beginning of a text that is truncated. Without it: all."
        },
    )

    def __post_init__(self) -> None:
        ScoreOptions(truncation=self.truncation, long_documents=self.long_documents)  # refuses what is not allowed
        PromptChoice(recipe=self.recipe, template=self.template)
        if self.instruction is not None:
            check_text(self.instruction, "the instruction")
        if self.threads is not None and self.threads < 1:
            raise InvalidRequest(f"threads is {self.threads}: use at least 1")

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of ``load``: those that are not the default."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: value for name, value in values.items() if value != default_of(name)}


_OPTIONS = {option.name: option for option in fields(LoadOptions)}


def help_of(name: str) -> str:
    """Return the description of an option, in Markdown."""
    text: str = _OPTIONS[name].metadata["help"]
    return text


def default_of(name: str) -> Any:
    """Return the default of an option."""
    return _OPTIONS[name].default


def read_label(text: str) -> int | str:
    """Read the option ``label`` from text: a number where it is one."""
    return int(text) if text.isdecimal() else text
