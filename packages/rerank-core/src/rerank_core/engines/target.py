"""Where to compute and with which numbers, and that an engine does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A device and the dtype to compute with there."""

    device: str
    dtype: str


class Unsupported(Exception):
    """An engine does not run a checkpoint on a target; the message says why."""
