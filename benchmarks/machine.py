"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# What decides how fast products of small numbers are, on x86 and on Arm.
_FLAGS = (
    *("avx2", "f16c", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
_LIBRARIES = ("torch", "transformers", "tokenizers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the libraries of our environment, as they name themselves.

    ``cores``: the numbers of those that this process may use; ``flags``: the processor's, of those that matter here.
    """

    processor: str
    flags: tuple[str, ...]
    cores: tuple[int, ...]
    system: str
    python: str
    versions: dict[str, str]


def describe() -> Machine:
    """The machine that runs this."""
    said = set(_cpuinfo("flags").split()) | set(_cpuinfo("Features").split())
    return Machine(
        processor=processor(),
        flags=tuple(flag for flag in _FLAGS if flag in said),
        cores=usable_cores(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in _LIBRARIES if (found := _version(name))},
    )


def processor() -> str:
    """What the machine says it is."""
    return _cpuinfo("model name") or platform.machine()


def usable_cores() -> tuple[int, ...]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def pin(cores: tuple[int, ...]) -> None:
    """Keep this process on these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _cpuinfo(field: str) -> str:
    """The first core's; empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    values = [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field]
    return values[0] if values else ""


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
