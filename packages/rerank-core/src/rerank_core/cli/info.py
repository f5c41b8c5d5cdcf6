"""``rerank info``: describe a model and how it would run here."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rerank_core.checkpoints.sources import DEFAULT_MODEL
from rerank_core.cli.command import MODELS, Command, Parser, add_load_options, load_options
from rerank_core.loading import load


def _configure(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_load_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    info = load(arguments.model, **load_options(arguments).keywords()).info
    if arguments.json:
        print(json.dumps(asdict(info), ensure_ascii=False))
        return 0
    print(info.title)
    rows = {
        "kind": info.kind,
        "revision": info.revision or "-",
        "engine": f"{info.engine} ({info.engine_reason})",
        "device": info.device,
        "dtype": info.dtype,
        "max length": f"{info.max_length} tokens",
        "raw score": info.raw_score,
        "truncation": f"on the {info.truncation_side}, where a request does not say",
        "activation": f"{info.activation}, the checkpoint's own: not applied" if info.activation else "-",
    }
    for name, value in rows.items():
        print(f"  {name:<11} {value}")
    return 0


COMMAND = Command("info", "Say what a model is and how it would run here.", _configure, _run, MODELS)
