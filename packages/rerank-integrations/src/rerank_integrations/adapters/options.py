"""Options of scoring that an adapter has fields for."""

from __future__ import annotations

from dataclasses import replace

from rerank_core.types import ScoreOptions


def with_instruction(options: ScoreOptions | None, instruction: str | None) -> ScoreOptions | None:
    """Return the options with this instruction, where it is not None. Raises ``InvalidRequest`` for no text."""
    return options if instruction is None else replace(options or ScoreOptions(), instruction=instruction)
