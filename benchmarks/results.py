"""A benchmark's figures in a file: what was measured on which machine, with every single value."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import Machine


def write_results(path: Path, machine: Machine, settings: Mapping[str, Any], **figures: Any) -> None:
    """Write one JSON object: ``machine``, ``settings``, and the figures by their names."""
    write_file(path, json.dumps({"machine": asdict(machine), "settings": settings, **figures}, indent=2) + "\n")


def write_file(path: Path, text: str) -> None:
    """Write a file, and make its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def settings_of(arguments: Namespace) -> dict[str, Any]:
    """What a benchmark was asked for, with the names of files instead of their places, and without its outputs."""
    outputs = {"json", "chart"}
    return {
        name: value.resolve().name if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
        if name not in outputs
    }
