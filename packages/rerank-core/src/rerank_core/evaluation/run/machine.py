"""Describes the machine that speed was measured on."""

from __future__ import annotations

import platform
from pathlib import Path

from rerank_core.engines.hardware.cpus import available_cpus


def machine() -> str:
    """Name the processor, and how many of its cores this process may use."""
    usable = available_cpus()
    return f"{_processor()}, {usable} {'core' if usable == 1 else 'cores'}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
