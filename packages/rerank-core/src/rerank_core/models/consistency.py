"""Checks that the parts of a checkpoint fit each other: tokenizer, template, network and head.

Found out when a model is loaded, so that no reader's text finds it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification
from rerank_core.errors import CheckpointError, DeviceError, EngineError
from rerank_core.text.template import Template
from rerank_core.types import TokenSequence

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rerank_core.engines.base import Engine


def check_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer, template: Template | None) -> None:
    """Refuse token ids and types that the network's tables do not have.

    Every entry of the vocabulary counts, added tokens too: a text may spell any of them. ``template``: None where all
    tokens are of the vocabulary, and of type 0.
    """
    config_path = checkpoint.directory / "config.json"
    rows = _vocabulary_rows(checkpoint)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise CheckpointError(f"{checkpoint.directory / 'tokenizer.json'} has no vocabulary")
    largest = max(*vocabulary.values(), template.largest_id if template else -1)
    if rows is not None and largest >= rows:
        raise CheckpointError(
            f"{checkpoint.directory}: the tokenizer knows token ids up to {largest}, and the network's table has "
            f"{rows} rows (vocab_size in config.json): give the table {largest + 1} rows, or take the tokens out"
        )
    padding = checkpoint.config.get("pad_token_id")
    if rows is not None and isinstance(padding, int) and not 0 <= padding < rows:
        raise CheckpointError(f"{config_path}: pad_token_id is {padding}, and the network's table has {rows} rows")
    types = checkpoint.type_rows
    if checkpoint.has_type_ids and types is not None and template and template.largest_type >= types:
        raise CheckpointError(
            f"{checkpoint.directory}: the tokenizer gives token types up to {template.largest_type}, and the network's "
            f"table has {types} rows (type_vocab_size in {config_path.name}): take token_type_ids out of "
            "model_input_names in tokenizer_config.json if it was trained without them"
        )


def _vocabulary_rows(checkpoint: Checkpoint) -> int | None:
    rows = checkpoint.config.get("vocab_size")
    if isinstance(rows, int):
        return rows
    from transformers import AutoConfig

    try:  # transformers' own default for the family, or another name for the field
        found = AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True).get_text_config()
        return int(found.vocab_size)
    except Exception:  # the engine says what is wrong with it, once it is asked to load it
        return None


def check_network(checkpoint: Checkpoint, engine: Engine, sequences: Sequence[TokenSequence]) -> None:
    """Send one short text through the network, and refuse rows that are not finite, or not one a label."""
    from rerank_core.engines.base import Batch

    shortest = min(sequences, key=len)
    try:
        rows = engine.forward(Batch.of([shortest]))
    except DeviceError:
        raise
    except EngineError as error:
        reason = error.__cause__ or error
        raise CheckpointError(
            f"{checkpoint.directory}: the network fails on a text of {len(shortest)} tokens "
            f"({type(reason).__name__}: {str(reason)[:300]})"
        ) from error
    if isinstance(checkpoint.head, Classification) and rows.shape[1] != len(checkpoint.head.labels):
        raise CheckpointError(
            f"{checkpoint.directory / 'config.json'} names {len(checkpoint.head.labels)} labels, "
            f"and the head has {rows.shape[1]} outputs"
        )
    if not (abs(rows) < float("inf")).all():
        raise CheckpointError(
            f"{checkpoint.directory}: the network's output is not finite: "
            "the weights are damaged, or the dtype is too small for them (try dtype='float32')"
        )
