"""Engines run the network. One table names them all; nothing else imports an engine by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from rerank_core.engines.target import Target, Unsupported
from rerank_core.errors import CheckpointError, InvalidRequest

if TYPE_CHECKING:
    from rerank_core.checkpoints.checkpoint import Checkpoint
    from rerank_core.engines.base import Engine, Plan

EngineName: TypeAlias = Literal["auto", "packed", "reference"]
"""``auto``, or a name of the table."""

# In the order of preference: the first one that runs a checkpoint is chosen.
ENGINES = {
    "packed": "rerank_core.engines.packed.engine:PackedEngine",
    "reference": "rerank_core.engines.reference:ReferenceEngine",
}


class Choice(NamedTuple):
    """The engine that runs a checkpoint, how, and why this one."""

    engine: str
    plan: Plan
    reason: str


def choose_engine(checkpoint: Checkpoint, wanted: str, target: Target) -> Choice:
    """Choose the engine that runs a checkpoint: the one that is wanted, or for ``auto`` the fastest that does.

    Raises ``InvalidRequest`` for a name that is none, and ``CheckpointError`` where the one that is asked for, or every
    one, does not run it.
    """
    if wanted != "auto" and wanted not in ENGINES:
        raise InvalidRequest(f"engine={wanted!r} is not known: use auto or one of {', '.join(ENGINES)}")
    if wanted != "auto":
        try:
            return Choice(wanted, _engine_class(wanted).plan(checkpoint, target), "as asked for")
        except Unsupported as reason:
            raise CheckpointError(f"the {wanted} engine does not run {checkpoint.name}: {reason}") from reason
    reasons = [f"the fastest that runs {checkpoint.config.get('model_type')}"]
    for name in ENGINES:
        try:
            plan = _engine_class(name).plan(checkpoint, target)
        except Unsupported as reason:
            reasons.append(f"{name} does not: {reason}")
        else:
            return Choice(name, plan, "; ".join(reasons))
    raise CheckpointError(
        f"no engine runs {checkpoint.name} on {target.device} in {target.dtype}: {'; '.join(reasons[1:])}; use float32"
    )


def _engine_class(name: str) -> type[Engine]:
    module, _, attribute = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(import_module(module), attribute)
    return engine
