"""How much memory a process has, and how much is left, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

FIELDS = ("RssAnon", "VmRSS", "VmHWM")


def is_counted() -> bool:
    """Whether this system counts memory there."""
    status = _status("self")
    return status.exists() and all(field in status.read_text() for field in FIELDS)


def resident(process: int | str = "self") -> dict[str, float]:
    """In MB (10^6 bytes): RssAnon, the process's own; VmRSS, with mapped files; VmHWM, the most VmRSS has been."""
    lines = (line.partition(":") for line in _status(process).read_text().splitlines())
    values = {name: text for name, _, text in lines if name in FIELDS}
    return {field: int(values[field].split()[0]) * 1024 / 1e6 for field in FIELDS}


def available() -> int | None:
    """Bytes that new processes can have without swapping; None where the system does not say."""
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _status(process: int | str) -> Path:
    return Path(f"/proc/{process}/status")
