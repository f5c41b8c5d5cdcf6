"""The memory that this process may use: the limit of a container, or the memory of the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of versions 2 and 1


def available_memory(cgroup: Path = _CGROUP) -> int:
    """The bytes of the machine's memory, or of the limit of the cgroup where that is less."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        machine = sys.maxsize
    return min([machine, *(limit for name in _LIMITS if (limit := _limit(cgroup / name)) is not None)])


def _limit(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such limit, or the word max
        return None
