"""``rerank info``: describe a model and how it would run here."""

from __future__ import annotations

import argparse
import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rerank_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from rerank_core.checkpoints.language_model import PromptChoice
from rerank_core.checkpoints.prompt import EXAMPLE
from rerank_core.checkpoints.sources import DEFAULT_MODEL, locate
from rerank_core.cli.command import MODELS, Command, Parser, add_load_options, load_options
from rerank_core.loading import load
from rerank_core.models.local import LocalModel
from rerank_core.types import ModelInfo, ScoreOptions

_SHOWN = 24  # tokens of the example
_SHOWN_LAST = 12  # behind them, where it is a prompt


def _configure(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_load_options(parser)


def _run(arguments: argparse.Namespace) -> int:
    options = load_options(arguments)
    model = load(arguments.model, **options.keywords())
    wanted = PromptChoice(recipe=options.recipe, template=options.template)
    checkpoint = read_checkpoint(locate(arguments.model, options.revision), wanted)
    info, facts = model.info, _facts(checkpoint, model)
    if arguments.json:
        print(json.dumps(asdict(info) | facts, ensure_ascii=False))
        return 0
    print(info.title)
    for name, value in _rows(info, facts):
        print(f"  {name:<11} {value}")
    return 0


def _facts(checkpoint: Checkpoint, model: LocalModel) -> dict[str, Any]:
    """Collect what the checkpoint's files say beside the description of the loaded model."""
    return {
        "family": str(checkpoint.config.get("model_type")),
        "head": checkpoint.head.description,
        "prompts": dict(checkpoint.head.prompts),
        "position_limit": checkpoint.position_limit,
        "suggested_length": checkpoint.suggested_length,
        "example_tokens": list(_example_tokens(checkpoint, model)),
    }


def _example_tokens(checkpoint: Checkpoint, model: LocalModel) -> Iterator[str]:
    """Yield the first tokens of an example, as the network reads it; of a prompt the last ones too."""
    from rerank_core.checkpoints.tokenizer_files import read_tokenizer

    tokenizer = read_tokenizer(checkpoint.directory, lowercase=checkpoint.lowercase).tokenizer
    (encoding,) = model.encode(EXAMPLE.query, [EXAMPLE.document], ScoreOptions())
    ids = array("i", encoding.sequences[0].token_ids)
    tokens = [str(tokenizer.id_to_token(token)) for token in ids]
    yield from tokens[:_SHOWN]
    if checkpoint.prompt is not None and len(tokens) > _SHOWN + _SHOWN_LAST:
        yield "..."
        yield from tokens[-_SHOWN_LAST:]


def _rows(info: ModelInfo, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "kind", info.kind
    yield "family", facts["family"]
    yield "revision", info.revision or "-"
    yield "engine", f"{info.engine} ({info.engine_reason})"
    yield "device", info.device
    yield "dtype", info.dtype
    yield "head", facts["head"]
    if info.recipe is not None:
        yield "recipe", info.recipe
    if info.takes_instruction:
        yield "instruction", json.dumps(info.instruction, ensure_ascii=False) if info.instruction else "none by default"
    prompts = {name: json.dumps(text, ensure_ascii=False) for name, text in facts["prompts"].items() if text}
    if info.example_prompt is not None:
        yield "prompt", json.dumps(info.example_prompt, ensure_ascii=False)
    else:
        yield "prompt", ", ".join(f"{text} before the {name}" for name, text in prompts.items()) or "-"
    limit, asked = facts["position_limit"] or "any number", facts["suggested_length"] or "nothing"
    yield "max length", f"{info.max_length} tokens (the files allow {limit} and ask for {asked})"
    yield "languages", ", ".join(info.languages) or "-"
    yield "raw score", info.raw_score
    yield "truncation", f"on the {info.truncation_side}, where a request does not say"
    yield "activation", f"{info.activation}, the checkpoint's own: not applied" if info.activation else "-"
    yield "example", " ".join(facts["example_tokens"])


COMMAND = Command("info", "Say what a model is and how it would run here.", _configure, _run, MODELS)
