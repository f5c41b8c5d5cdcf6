"""Recognises what training leaves behind that is no model by itself: an adapter, or a folder of checkpoints."""

from __future__ import annotations

import re
from pathlib import Path

from rerank_core.checkpoints.files import is_there, read_settings
from rerank_core.errors import CheckpointError

ADAPTER = "adapter_config.json"
_STEP = re.compile(r"checkpoint-(\d{1,15})")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_CONFIG, _MODULES = "config.json", "modules.json"


def check_is_model(directory: Path) -> None:
    """Raise ``CheckpointError``, with the way to a model, for a directory that only leads to one.

    That is an adapter of PEFT, whose weights are added to those of another model, or the folder that a trainer wrote
    its checkpoints into. Of anything else nothing is said here.
    """
    if is_there(directory / ADAPTER) and not any(is_there(directory / name) for name in _WEIGHTS):
        raise CheckpointError(_adapter(directory))
    if not is_there(directory / _CONFIG) and directory.is_dir() and (message := _below(directory)):
        raise CheckpointError(message)


def _adapter(directory: Path) -> str:
    settings = read_settings(directory / ADAPTER)
    kind, base = settings.get("peft_type"), settings.get("base_model_name_or_path")
    name = f"an adapter of PEFT ({kind})" if isinstance(kind, str) else "an adapter of PEFT"
    other = f"{base:.200}" if isinstance(base, str) and base else "another model"
    return (
        f"{directory} holds {name} for {other}, not a model: merge the two, and load the result. In Python: "
        f"AutoPeftModelForSequenceClassification.from_pretrained({str(directory)!r}).merge_and_unload()"
        f".save_pretrained('merged'), and save the tokenizer of {other} into merged too"
    )


def _below(directory: Path) -> str | None:
    """Describe the models in the folders of a directory, the newest checkpoint of a trainer first."""
    steps = {int(match[1]): path for path in directory.iterdir() if (match := _STEP.fullmatch(path.name))}
    if steps:
        newest = steps[max(steps)]
        count = f"{len(steps)} checkpoints" if len(steps) > 1 else "a checkpoint"
        best = _best(newest)
        more = f"; the best by the trainer's own measure was {best}" if best and best != newest.name else ""
        return f"{directory} holds {count} of a trainer, not a model: load the newest, {newest}{more}"
    if is_there(directory / _MODULES):  # its folders are parts of one model
        return None
    models = sorted(path.name for path in directory.iterdir() if path.is_dir() and _has_weights(path, _CONFIG))
    if models:
        listed = ", ".join(models[:20]) + (", ..." if len(models) > 20 else "")
        return f"{directory} holds models in its folders ({listed}): name one, such as {directory / models[0]}"
    return None


def _has_weights(directory: Path, beside: str) -> bool:
    return is_there(directory / beside) and any(is_there(directory / name) for name in _WEIGHTS)


def _best(checkpoint: Path) -> str | None:
    """Return the name of the checkpoint that a trainer's state calls the best; None where it calls none so."""
    best = read_settings(checkpoint / "trainer_state.json").get("best_model_checkpoint")
    return Path(best).name if isinstance(best, str) and best else None
