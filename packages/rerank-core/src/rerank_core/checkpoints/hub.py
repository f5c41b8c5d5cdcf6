"""Models by their name on the Hugging Face hub: found in the local cache, or downloaded."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_core.checkpoints import model_card
from rerank_core.errors import CheckpointError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo as HubModel

logger = logging.getLogger(__name__)

# What transformers converts where there is no tokenizer.json.
VOCABULARY_FILES = (
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)

# Weights as safetensors only, at the top of the repository: not the copies for other runtimes in its folders. The model
# card says which languages the model is for.
FILES = [
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *VOCABULARY_FILES,
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "*_LogitScore/config.json",
    "*_Pooling/config.json",
    *(f"*_{module}/{name}" for module in ("Dense", "LayerNorm") for name in ("config.json", "model.safetensors")),
    model_card.NAME,
    "adapter_config.json",  # says that the files are no model by themselves
]
CODE_FILES = ["*.py"]

_TOKENIZERS = ("tokenizer.json", *VOCABULARY_FILES)

_ATTEMPTS = 3
_TIMEOUT = 4.0  # seconds an attempt; with the pauses between them about 15 s in all
_PAUSE = 1.5


def find(model: str, revision: str | None, *, code: bool = False) -> Path:
    """Find the directory of a hub model's snapshot: in the cache, without asking the hub, or downloaded.

    Raises ``CheckpointError`` where the hub does not have it, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    files = FILES + (CODE_FILES if code else [])
    try:
        cached = Path(snapshot_download(model, revision=revision, allow_patterns=files, local_files_only=True))
        if _is_complete(cached):
            return cached
    except Exception as error:  # not cached, in one of many ways
        logger.debug("%s is not in the cache: %s", model, error)
    commit = find_commit(model, revision)
    logger.info("downloading %s at %s", model, commit)
    try:  # by the name of the revision, not its commit: so the cache knows the name from now on
        return Path(snapshot_download(model, revision=revision, allow_patterns=files))
    except Exception as error:
        raise CheckpointError(_unreachable(model, error)) from error


def _is_complete(snapshot: Path) -> bool:
    """Return whether an earlier download got to its end: configuration, a tokenizer, and every weight file.

    It may be one of an earlier version, which took no weights of modules behind the network.
    """
    if not (snapshot / "config.json").exists() or not any((snapshot / name).exists() for name in _TOKENIZERS):
        return False
    modules = snapshot / "modules.json"
    for module in json.loads(modules.read_text(encoding="utf-8")) if modules.exists() else []:
        has_weights = str(module["type"]).endswith((".Dense", ".LayerNorm"))
        if has_weights and not (snapshot / module["path"] / "model.safetensors").exists():
            return False
    index = snapshot / "model.safetensors.index.json"
    if not index.exists():
        return any(snapshot.glob("*.safetensors"))
    listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((snapshot / name).exists() for name in listed)


def download(model: str, commit: str | None, directory: Path) -> None:
    """Download a model's files into a directory. Raises as ``find``."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(model, revision=commit, allow_patterns=FILES, local_dir=directory)
    except Exception as error:
        raise CheckpointError(_unreachable(model, error)) from error


def find_commit(model: str, revision: str | None) -> str | None:
    """Ask the hub for the commit of a model with safetensors weights, a bounded number of times. Raises as ``find``."""
    found = _ask(model, revision)
    names = [file.rfilename for file in found.siblings or []]
    if not any(name.endswith(".safetensors") for name in names):
        pickles = ", ".join(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
        raise CheckpointError(
            f"{model} has no safetensors weights on the hub (found: {pickles or 'no weights at all'}). "
            "Pickle files can run code when they are loaded, so they never are: convert it to safetensors first"
        )
    return found.sha


def _ask(model: str, revision: str | None) -> HubModel:
    """Ask the hub for its description of a model."""
    from huggingface_hub import HfApi, errors

    failure: Exception
    for attempt in range(_ATTEMPTS):
        try:
            return HfApi().model_info(model, revision=revision, timeout=_TIMEOUT)
        except errors.GatedRepoError as error:
            raise CheckpointError(f"{model} is gated on the hub: accept its terms there and set HF_TOKEN") from error
        except errors.RepositoryNotFoundError as error:
            raise CheckpointError(
                f"{model} is neither a directory here nor a model on the hub (a private one needs HF_TOKEN)"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise CheckpointError(f"{model} has no revision {revision!r} on the hub") from error
        except errors.HFValidationError as error:
            raise CheckpointError(f"{model!r} is neither a directory here nor a model's name on the hub") from error
        except errors.OfflineModeIsEnabled as error:
            raise CheckpointError(_unreachable(model, error)) from error
        except Exception as error:  # the hub's client changes its HTTP library, and so its exceptions, over time
            failure = error
            logger.info("attempt %d of %d to reach the hub failed: %s", attempt + 1, _ATTEMPTS, error)
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_PAUSE)
    raise CheckpointError(_unreachable(model, failure)) from failure


def _unreachable(model: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"{model} is not cached here and the hub could not be reached ({type(error).__name__}: {reason}). "
        "Ways out: name a local directory that holds the model; "
        f"fetch it where there is a network (rerank fetch {model} DIR) and copy DIR here; "
        "or use the model 'lite', which needs no hub (install rerank-core[lite])"
    )
