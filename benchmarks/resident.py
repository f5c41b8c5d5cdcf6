"""How much memory this process has, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

FIELDS = ("RssAnon", "VmRSS", "VmHWM")
_STATUS = Path("/proc/self/status")


def is_counted() -> bool:
    """Whether this system counts memory there."""
    return _STATUS.exists() and all(field in _STATUS.read_text() for field in FIELDS)


def resident() -> dict[str, float]:
    """In MB (10^6 bytes): RssAnon, the process's own; VmRSS, with mapped files; VmHWM, the most VmRSS has been."""
    lines = (line.partition(":") for line in _STATUS.read_text().splitlines())
    values = {name: text for name, _, text in lines if name in FIELDS}
    return {field: int(values[field].split()[0]) * 1024 / 1e6 for field in FIELDS}
