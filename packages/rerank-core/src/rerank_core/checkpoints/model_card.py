"""Reads the model card: the README.md that lies beside a model on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from rerank_core.checkpoints.files import is_there, read_text
from rerank_core.errors import CheckpointError

NAME = "README.md"

_MOST = 2**16  # characters of a card that are read: its metadata comes first
_METADATA = re.compile(r"\A\ufeff?---[^\S\n]*\n(.*?)\n---[^\S\n]*(?:\n|\Z)", re.DOTALL)


def read_languages(directory: Path) -> tuple[str, ...]:
    """Read the languages that a model is for, as codes such as ``en``; none where the card does not say.

    A card describes a model and computes nothing, so that one that cannot be read says nothing.
    """
    import yaml

    path = directory / NAME
    try:
        metadata = _METADATA.match(read_text(path)[:_MOST]) if is_there(path) else None
        said = yaml.safe_load(metadata[1]) if metadata else None
    except (CheckpointError, yaml.YAMLError, ValueError, RecursionError):  # ValueError: an impossible date
        return ()
    languages = said.get("language") if isinstance(said, dict) else None
    listed = [languages] if isinstance(languages, str) else languages if isinstance(languages, list) else []
    return tuple(language for language in listed if isinstance(language, str))
