"""What runs the network. One table names them all; nobody else imports an engine by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rerank_core.errors import InvalidRequest

if TYPE_CHECKING:
    from rerank_core.checkpoint import Checkpoint
    from rerank_core.engines.base import Engine

ENGINES = {"reference": "rerank_core.engines.reference:ReferenceEngine"}


def choose_engine(checkpoint: Checkpoint, wanted: str) -> tuple[type[Engine], str]:
    """The engine that runs a checkpoint, and why. Raises ``InvalidRequest`` for a name that is none."""
    if wanted != "auto" and wanted not in ENGINES:
        raise InvalidRequest(f"there is no engine {wanted!r}: use auto or one of {', '.join(ENGINES)}")
    if wanted == "auto":
        return _engine_class("reference"), f"plain transformers, which runs {checkpoint.config.get('model_type')}"
    return _engine_class(wanted), "as asked for"


def _engine_class(name: str) -> type[Engine]:
    module, _, attribute = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(import_module(module), attribute)
    return engine
