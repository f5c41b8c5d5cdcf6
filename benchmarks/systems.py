"""Every system that is measured, behind one call: raw scores of one query's passages.

Each runs in a process of its own, in float32 unless its name says another, with one thread and the same most tokens of
a pair; the peers at their defaults, and at their best documented setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from rerank_core.types import ScoreOptions

Score: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]

DTYPES = ("float32", "float16-weights", "int8", "bfloat16")  # of our packed engine on a CPU


def ours(checkpoint: str, max_length: int, *, engine: str, dtype: str = "float32") -> Score:
    import rerank_core

    model = rerank_core.load(checkpoint, device="cpu", dtype=dtype, engine=engine, max_length=max_length)
    if model.info.dtype != dtype:
        raise RuntimeError(f"this machine computes in {model.info.dtype} instead of {dtype}")
    return lambda query, documents: model.score(query, documents, ScoreOptions(raw=True)).values


def transformers_sorted(checkpoint: str, max_length: int, *, batch_size: int) -> Score:
    """Plain transformers, sorted by length, in padded batches: what a careful user writes."""
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{checkpoint}/tokenizer.json")
    network = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    pad = network.config.pad_token_id
    has_types = getattr(network.config, "type_vocab_size", 0) > 1

    @torch.inference_mode()
    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        encoded = tokenizer(
            [query] * len(documents),
            list(documents),
            truncation=True,
            max_length=max_length,
            return_token_type_ids=has_types,
            return_attention_mask=False,
        )
        order = sorted(range(len(documents)), key=lambda index: -len(encoded["input_ids"][index]))
        scores = [0.0] * len(documents)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            inputs = _padded(torch, encoded, chosen, pad)
            for index, logit in zip(chosen, network(**inputs).logits[:, 0].tolist(), strict=True):
                scores[index] = logit
        return scores

    return score


def _padded(torch: Any, encoded: Any, chosen: list[int], pad: int) -> dict[str, Any]:
    rows = [encoded["input_ids"][index] for index in chosen]
    width = max(len(row) for row in rows)
    inputs = {
        "input_ids": torch.tensor([row + [pad] * (width - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    }
    if "token_type_ids" in encoded:
        types = [encoded["token_type_ids"][index] for index in chosen]
        inputs["token_type_ids"] = torch.tensor([row + [0] * (width - len(row)) for row in types])
    return inputs


def sentence_transformers(checkpoint: str, max_length: int) -> Score:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(checkpoint, device="cpu", max_length=max_length)

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        pairs = [(query, document) for document in documents]
        values: list[float] = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False).tolist()
        return values

    return score


def flag_embedding(checkpoint: str, max_length: int, **options: Any) -> Score:
    from FlagEmbedding import FlagReranker

    model = FlagReranker(checkpoint, use_fp16=False, devices="cpu", max_length=max_length, **options)

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        values: list[float] = model.compute_score([(query, document) for document in documents])
        return values

    return score


def infinity(checkpoint: str, max_length: int) -> Score:
    """It has no setting for the length: it reads what the tokenizer's configuration says."""
    from infinity_emb import EngineArgs, SyncEngineArray

    arguments = EngineArgs(
        model_name_or_path=checkpoint, engine="torch", device="cpu", dtype="float32", model_warmup=False
    )
    engines = SyncEngineArray.from_args([arguments])

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        found, _ = engines.rerank(model=checkpoint, query=query, docs=list(documents), raw_scores=True).result()
        by_index = {item.index: item.relevance_score for item in found}
        return [by_index[index] for index in range(len(documents))]

    return score


def packed(dtype: str) -> str:
    """The name of our packed engine with this dtype."""
    return "packed" if dtype == "float32" else f"packed, {dtype}"


SYSTEMS: dict[str, Callable[[str, int], Score]] = {
    **{packed(dtype): partial(ours, engine="packed", dtype=dtype) for dtype in DTYPES},
    "reference": partial(ours, engine="reference"),
    "transformers, sorted, b16": partial(transformers_sorted, batch_size=16),
    "transformers, sorted, b1": partial(transformers_sorted, batch_size=1),
    "sentence-transformers": sentence_transformers,
    "FlagEmbedding": flag_embedding,
    "FlagEmbedding, b16": partial(flag_embedding, batch_size=16),
    "infinity": infinity,
}

# The largest difference from float32, relative to max(1, |score|), that smaller numbers may make: where it is inf,
# ranking quality says whether they will do, and no single score does. A machine may lack what one of these needs.
REDUCED = {packed("float16-weights"): 5e-3, packed("int8"): math.inf, packed("bfloat16"): math.inf}

OURS = ("packed", *REDUCED, "reference")
