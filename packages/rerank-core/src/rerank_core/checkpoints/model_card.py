"""Reads the model card: the README.md that lies beside a model on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core.checkpoints.files import is_there, read_text
from rerank_core.errors import CheckpointError

NAME = "README.md"

_MOST = 2**16  # characters of a card that are read: its metadata comes first
_METADATA = re.compile(r"\A---[^\S\n]*\n(.*?)\n---[^\S\n]*(?:\n|\Z)", re.DOTALL)
_UNENDED_METADATA = re.compile(r"\A---[^\S\n]*\n.*", re.DOTALL)
# Comments and program text, in which a line may look like a heading.
_NO_TEXT = re.compile(r"<!--.*?(?:-->|\Z)|^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+[ \t]+(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a card says of its model; empty where it does not say.

    - ``title``: the first heading.
    - ``base_models``: the names of the models that it was made of.
    - ``languages``: those that it is for, as codes such as ``en``.
    """

    title: str = ""
    base_models: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


def read_card(directory: Path) -> ModelCard:
    """Read a model's card. One that is absent, or cannot be read, says nothing: a card computes nothing."""
    path = directory / NAME
    try:
        text = read_text(path).removeprefix("\ufeff")[:_MOST] if is_there(path) else ""
    except CheckpointError:
        return ModelCard()
    metadata = _METADATA.match(text)
    said = _read_metadata(metadata[1]) if metadata else {}
    body = text[metadata.end() :] if metadata else _UNENDED_METADATA.sub("", text)
    heading = _HEADING.search(_NO_TEXT.sub("", body))
    return ModelCard(
        title=heading[1].strip() if heading else "",
        base_models=_texts(said.get("base_model")),
        languages=_texts(said.get("language")),
    )


def _read_metadata(text: str) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: an impossible date
        return {}
    return said if isinstance(said, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list, or the only one."""
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text for text in listed if isinstance(text, str))
