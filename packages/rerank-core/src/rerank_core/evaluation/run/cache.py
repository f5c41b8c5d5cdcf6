"""Answers kept on disk, so that nothing is computed twice.

One file holds what one system said of one collection: what was loaded, and each answer by its question's digest, so
that more questions add to it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_core.atomic_write import write_text
from rerank_core.evaluation.run.answers import Answer, LoadedModel

_FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The answers of a system that are known, by their questions' digests."""

    loaded: LoadedModel
    answers: Mapping[str, Answer]


class Cache:
    """A folder of answers. Raises ``OSError`` where it cannot be made or written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, collection: str, key: str) -> CacheEntry | None:
        """Read a file; None where there is none, or one that cannot be understood."""
        path = self._path(collection, key)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                return None
            return CacheEntry(
                LoadedModel(**content["loaded"]), {name: _answer(own) for name, own in content["answers"].items()}
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is damaged (%s): its scores are computed again", path, type(error).__name__)
            return None

    def write(self, collection: str, key: str, known: CacheEntry) -> None:
        """Keep answers, beside those that are there of the same system."""
        earlier = self.read(collection, key)
        answers = {**(earlier.answers if earlier else {}), **known.answers}
        content = {
            "format": _FORMAT,
            "loaded": asdict(known.loaded),
            "answers": {name: asdict(answer) for name, answer in answers.items()},
        }
        write_text(self._path(collection, key), json.dumps(content))

    def _path(self, collection: str, key: str) -> Path:
        return self._folder / re.sub(r"[^\w.-]", "_", collection) / f"{key}.json"


def _answer(content: Mapping[str, Any]) -> Answer:
    """Read an answer. Raises ``ValueError`` for numbers that no run can have left."""
    answer = Answer(
        tuple(map(float, content["scores"])), float(content["seconds"]), content["cpu_seconds"], content["memory"]
    )
    if not all(map(math.isfinite, (*answer.scores, answer.seconds, answer.cpu_seconds or 0.0))):
        raise ValueError("a number is not finite")
    return answer


def default_folder() -> Path:
    """Return the folder of the user's caches."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "rerank" / "eval"
