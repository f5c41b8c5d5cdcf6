"""The systems that are compared, each as a function from a query and documents to raw scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import torch
from rerank_core import ScoreOptions, load
from rerank_core.engines.packed.device_classes import DEVICE_CLASSES
from rerank_core.models.local import LocalModel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from gpu.report import Missing

Score: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]
Network: Any = AutoModelForSequenceClassification  # whose functions have no types

RAW = ScoreOptions(raw=True)
MAX_LENGTH = 512
PEER_BATCH = 64  # pairs: more than the peers' own default, which keeps a GPU less busy
PEER_DEFAULT = 32


def ours(directory: Path, device: str, dtype: str, **options: Any) -> LocalModel:
    """Load the packed engine. It reads 512 tokens, or as many as the checkpoint does."""
    return load(str(directory), device=device, dtype=dtype, engine="packed", **options)


def score_with(model: LocalModel) -> Score:
    """Score with a model that is loaded."""
    return lambda query, documents: model.score(query, documents, RAW).values


@contextmanager
def device_class(device: str, **choices: Any) -> Iterator[None]:
    """Change the choices of the device's class for a while."""
    name = device.partition(":")[0]
    with mock.patch.dict(DEVICE_CLASSES, {name: replace(DEVICE_CLASSES[name], **choices)}):
        yield


def road(model: LocalModel) -> str:
    """Name the way in which attention is computed, with the kernel's arguments."""
    network: Any = model._engine
    network = network._network
    layers = network.encoder.layers if hasattr(network, "encoder") else network.decoder.layers
    attend = layers[0].attend
    kernel = getattr(attend, "kernel", None)
    if kernel is None:
        return f"a loop ({getattr(attend, '__name__', type(attend).__name__)})"
    options = ", ".join(f"{name}={value}" for name, value in kernel.attend.keywords.items())
    return f"one kernel ({options}{'' if kernel.repeats == 1 else ', key heads repeated'})"


def sort_and_pad(
    directory: Path, device: str, dtype: str, *, attention: str = "sdpa", batch: int = PEER_BATCH
) -> Score:
    """Plain transformers, sorted by length, in padded batches. Raises ``Missing`` for an attention that is not here."""
    try:
        network = Network.from_pretrained(directory, dtype=getattr(torch, dtype), attn_implementation=attention)
    except (ImportError, ValueError) as error:
        raise Missing(str(error).partition("\n")[0][:200]) from error
    network = network.to(device).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    pad = network.config.pad_token_id
    has_types = getattr(network.config, "type_vocab_size", 0) > 1

    @torch.inference_mode()
    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        encoded = tokenizer(
            [query] * len(documents), list(documents), truncation=True, max_length=MAX_LENGTH,
            return_token_type_ids=has_types, return_attention_mask=False,
        )  # fmt: skip
        order = sorted(range(len(documents)), key=lambda index: -len(encoded["input_ids"][index]))
        found = []
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            width = len(encoded["input_ids"][chosen[0]])
            mask = [[1] * len(encoded["input_ids"][index]) for index in chosen]
            inputs = {"input_ids": [encoded["input_ids"][index] for index in chosen], "attention_mask": mask}
            if has_types:
                inputs["token_type_ids"] = [encoded["token_type_ids"][index] for index in chosen]
            filler = {"input_ids": pad, "attention_mask": 0, "token_type_ids": 0}
            tensors = {
                name: torch.tensor([row + [filler[name]] * (width - len(row)) for row in rows]).to(device)
                for name, rows in inputs.items()
            }
            found.append(network(**tensors).logits[:, 0])
        scores = [0.0] * len(documents)
        for index, logit in zip(order, torch.cat(found).float().tolist(), strict=True):
            scores[index] = logit
        return scores

    return score


def sentence_transformers(
    directory: Path, device: str, dtype: str, *, unpads: bool = False, batch: int = PEER_BATCH
) -> Score:
    """sentence-transformers, as its users call it. ``unpads``: with its own unpadding, or ``Missing``."""
    try:
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError as error:
        raise Missing(str(error)) from error
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if unpads:
        options["attn_implementation"] = "flash_attention_2"
    try:
        model = CrossEncoder(str(directory), device=device, max_length=MAX_LENGTH, model_kwargs=options)
    except (ImportError, ValueError) as error:
        raise Missing(str(error).partition("\n")[0][:200]) from error
    can_unpad = getattr(model, "_can_flatten_inputs", lambda: False)()
    if unpads and not can_unpad:
        raise Missing("it does not unpad the inputs of this kind of model")

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        values: list[float] = model.predict(
            [(query, document) for document in documents],
            batch_size=batch, activation_fn=torch.nn.Identity(), show_progress_bar=False,
        ).tolist()  # fmt: skip
        return values

    return score
