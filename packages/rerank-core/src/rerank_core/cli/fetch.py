"""``rerank fetch``: put a model's files into a directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from rerank_core.checkpoints.sources import fetch
from rerank_core.cli.command import MODELS, Command, Parser
from rerank_core.loading import require_libraries


def _configure(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a hub name, a directory, or lite")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a new or an empty directory")
    parser.add_argument("--revision", help="a branch, tag or commit on the hub (default: the main branch)")
    parser.add_argument(
        "--float16", action="store_true", help="write the weights in float16: half the size, each number rounded"
    )


def _run(arguments: argparse.Namespace) -> int:
    require_libraries()
    manifest = fetch(arguments.model, arguments.directory, revision=arguments.revision, float16=arguments.float16)
    size = sum(file.size for file in manifest.files.values())
    revision = f" at {manifest.revision}" if manifest.revision else ""
    print(f"{manifest.model}{revision}: {len(manifest.files)} files, {size:,} bytes in {arguments.directory}")
    return 0


COMMAND = Command(
    "fetch",
    "Put a model's safetensors, tokenizer and configuration files into a directory, with a manifest of their SHA-256.",
    _configure,
    _run,
    MODELS,
)
