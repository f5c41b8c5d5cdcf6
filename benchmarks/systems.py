"""Every system that is measured, behind one call: raw scores of one query's passages.

Each runs in a process of its own, in float32 unless its name says another, with one thread and the same most tokens of
a pair; the peers at their defaults, and at their best documented setting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import export_peer

Score: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]

DTYPES = ("float32", "float16-weights", "int8", "bfloat16")  # of our packed engine on a CPU


def ours(checkpoint: str, max_length: int, *, engine: str, dtype: str = "float32") -> Score:
    import rerank_core
    from rerank_core import ScoreOptions

    model = rerank_core.load(checkpoint, device="cpu", dtype=dtype, engine=engine, max_length=max_length)
    if model.info.dtype != dtype:
        raise RuntimeError(f"this machine computes in {model.info.dtype} instead of {dtype}")
    return lambda query, documents: model.score(query, documents, ScoreOptions(raw=True)).values


def transformers_sorted(checkpoint: str, max_length: int, *, batch_size: int) -> Score:
    """Plain transformers, sorted by length, in padded batches: what a careful user writes."""
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    pad = network.config.pad_token_id
    tokenize = _tokenizer(checkpoint, max_length, type_ids=getattr(network.config, "type_vocab_size", 0) > 1)

    @torch.inference_mode()
    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        encoded = tokenize(query, documents)
        order = sorted(range(len(documents)), key=lambda index: -len(encoded["input_ids"][index]))
        scores = [0.0] * len(documents)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            inputs = _padded(torch, encoded, chosen, pad)
            for index, logit in zip(chosen, network(**inputs).logits[:, 0].tolist(), strict=True):
                scores[index] = logit
        return scores

    return score


def _tokenizer(
    checkpoint: str, max_length: int, *, type_ids: bool
) -> Callable[[str, Sequence[str]], dict[str, list[list[int]]]]:
    """Transformers' tokenizer of pairs: a row for each document, without padding."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{checkpoint}/tokenizer.json")

    def tokenize(query: str, documents: Sequence[str]) -> dict[str, list[list[int]]]:
        return dict(
            tokenizer(
                [query] * len(documents),
                list(documents),
                truncation=True,
                max_length=max_length,
                return_token_type_ids=type_ids,
                return_attention_mask=True,
            )
        )

    return tokenize


def _padded(torch: Any, encoded: dict[str, list[list[int]]], chosen: list[int], pad: int) -> dict[str, Any]:
    width = max(len(encoded["input_ids"][index]) for index in chosen)
    inputs = {}
    for name, rows in encoded.items():
        filler = pad if name == "input_ids" else 0
        inputs[name] = torch.tensor([rows[index] + [filler] * (width - len(rows[index])) for index in chosen])
    return inputs


def exported(folder: str, max_length: int, *, open_network: Callable[[Path], tuple[list[str], Any]]) -> Score:
    """A network in the peer's own format, one pair at a time without padding: its best setting on mixed lengths."""
    import numpy as np

    names, network = open_network(Path(folder))
    tokenize = _tokenizer(folder, max_length, type_ids="token_type_ids" in names)

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        encoded = tokenize(query, documents)
        pairs = ({name: np.array([encoded[name][index]]) for name in names} for index in range(len(documents)))
        return [float(network(pair)[0][0, 0]) for pair in pairs]

    return score


def onnx_runtime(folder: Path) -> tuple[list[str], Any]:
    """Names of the inputs, and what computes the logits."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(folder / export_peer.ONNX, options, providers=["CPUExecutionProvider"])
    return [each.name for each in session.get_inputs()], lambda pair: session.run(["logits"], pair)


def openvino(folder: Path, *, precision: str) -> tuple[list[str], Any]:
    """Names of the inputs, and what computes the logits."""
    from openvino import Core

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    network = Core().compile_model(folder / export_peer.OPENVINO, "CPU", settings)
    taken = network.get_property("INFERENCE_PRECISION_HINT").to_string()
    if taken != precision:
        raise RuntimeError(f"OpenVINO computes in {taken} here instead of {precision}")
    return [each.get_any_name() for each in network.inputs], network


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


ONNX_RUNTIME, ONNX_RUNTIME_INT8 = "ONNX Runtime, b1", "ONNX Runtime, int8, b1"
OPENVINO_BFLOAT16 = "OpenVINO, bfloat16, b1"

# Ours first; then peers that pad nothing, their best setting on mixed lengths; then those that pad.
SYSTEMS: dict[str, Callable[[str, int], Score]] = {
    **{packed(dtype): partial(ours, engine="packed", dtype=dtype) for dtype in DTYPES},
    "reference": partial(ours, engine="reference"),
    ONNX_RUNTIME: partial(exported, open_network=onnx_runtime),
    ONNX_RUNTIME_INT8: partial(exported, open_network=onnx_runtime),
    OPENVINO_BFLOAT16: partial(exported, open_network=partial(openvino, precision="bf16")),
    "transformers, sorted, b1": partial(transformers_sorted, batch_size=1),
    "transformers, sorted, b16": partial(transformers_sorted, batch_size=16),
    "sentence-transformers": sentence_transformers,
    "FlagEmbedding, b16": partial(flag_embedding, batch_size=16),
    "FlagEmbedding": flag_embedding,
    "infinity": infinity,
}

OURS = (*map(packed, DTYPES), "reference")
REDUCED = tuple(map(packed, DTYPES[1:]))  # ours, in smaller numbers than float32
PEERS = tuple(system for system in SYSTEMS if system not in OURS)

# The format that a peer reads, where it does not read a checkpoint.
EXPORTS = {ONNX_RUNTIME: "onnx", ONNX_RUNTIME_INT8: "onnx-int8", OPENVINO_BFLOAT16: "openvino"}

# The largest difference from float32, relative to max(1, |score|), that smaller numbers may make: where it is inf,
# ranking quality says whether they will do, and no single score does.
_ROUNDED = (packed("int8"), packed("bfloat16"), ONNX_RUNTIME_INT8, OPENVINO_BFLOAT16)
DIFFERENCES = {packed("float16-weights"): 5e-3, **dict.fromkeys(_ROUNDED, math.inf)}

_PRODUCTS = {packed("int8"): "int8", packed("bfloat16"): "bfloat16"}
_PRODUCTS |= {ONNX_RUNTIME_INT8: "int8", OPENVINO_BFLOAT16: "bfloat16"}


def product_dtype(system: str) -> str:
    """The dtype of a system's matrix products: float32, bfloat16 or int8."""
    return _PRODUCTS.get(system, "float32")
