"""Engines run the network. One table names them all; nothing else imports an engine by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rerank_core.errors import CheckpointError, InvalidRequest

if TYPE_CHECKING:
    from rerank_core.checkpoints.checkpoint import Checkpoint
    from rerank_core.engines.base import Engine

# In the order of preference: the first one that runs a checkpoint is chosen.
ENGINES = {
    "packed": "rerank_core.engines.packed.engine:PackedEngine",
    "reference": "rerank_core.engines.reference:ReferenceEngine",
}


def choose_engine(checkpoint: Checkpoint, wanted: str, *, device: str, dtype: str) -> tuple[type[Engine], str]:
    """Choose the engine that runs a checkpoint, and say why.

    Raises ``InvalidRequest`` for a name that is none, and ``CheckpointError`` where the one that is asked for, or every
    one, refuses.
    """
    if wanted != "auto" and wanted not in ENGINES:
        raise InvalidRequest(f"there is no engine {wanted!r}: use auto or one of {', '.join(ENGINES)}")
    if wanted != "auto":
        reason = _engine_class(wanted).unsupported_reason(checkpoint, device=device, dtype=dtype)
        if reason is not None:
            raise CheckpointError(f"the {wanted} engine does not run {checkpoint.name}: {reason}")
        return _engine_class(wanted), "as asked for"
    reasons = [f"the fastest that runs {checkpoint.config.get('model_type')}"]
    for name in ENGINES:
        engine = _engine_class(name)
        reason = engine.unsupported_reason(checkpoint, device=device, dtype=dtype)
        if reason is None:
            return engine, "; ".join(reasons)
        reasons.append(f"{name} does not: {reason}")
    raise CheckpointError(
        f"no engine runs {checkpoint.name} on {device} in {dtype}: {'; '.join(reasons[1:])}; use float32"
    )


def _engine_class(name: str) -> type[Engine]:
    module, _, attribute = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(import_module(module), attribute)
    return engine
