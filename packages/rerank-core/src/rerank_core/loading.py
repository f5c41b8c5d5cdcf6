"""Loads a model by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from operator import index
from pathlib import Path

from rerank_core.calibration import read_calibration
from rerank_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from rerank_core.checkpoints.labels import HeadColumns
from rerank_core.checkpoints.manifest import digest
from rerank_core.checkpoints.model_card import read_languages
from rerank_core.checkpoints.sources import DEFAULT_MODEL, locate, pinned
from rerank_core.engines import choose_engine
from rerank_core.engines.hardware.devices import choose_device, choose_dtype, set_threads
from rerank_core.errors import InvalidRequest, MissingExtra
from rerank_core.models.bi_encoder import BiEncoder
from rerank_core.models.calibration_texts import CALIBRATION_TEXTS
from rerank_core.models.consistency import check_network, check_tokens
from rerank_core.models.cross_encoder import CrossEncoder
from rerank_core.models.local import LocalModel
from rerank_core.models.scoring import distinct_segments
from rerank_core.types import LongDocuments, ModelInfo, ScoreOptions, Truncation

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy")


def require_libraries() -> None:
    """Raise ``MissingExtra`` where the libraries that run a model are not installed."""
    for name in _LIBRARIES:
        if find_spec(name) is None:
            raise MissingExtra.needs(f"running a model here needs {name}", "rerank-core[torch]")


def load(
    model: str = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    truncation: Truncation = "longest_first",
    long_documents: LongDocuments = "truncate",
    calibration: str | Path | Sequence[float] | None = None,
    label: int | str | None = None,
    engine: str = "auto",
    threads: int | None = None,
    trust_remote_code: bool = False,
    max_characters: int | None = None,
) -> LocalModel:
    """Load a model that scores in this process.

    - ``model``: a local directory, a name on the Hugging Face hub, or ``lite``; ``revision``: of a hub model.
    - ``device``: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    - ``dtype``: ``auto`` (float32), ``float32``; on a CPU also ``float16-weights``, ``bfloat16`` and ``int8``, on a GPU
      ``float16`` and ``bfloat16``. docs/performance.md says what each costs.
    - ``max_length``: tokens of a pair (cross-encoder) or of each text (bi-encoder); by default min(512, what the
      checkpoint reads). ``truncation``: what is cut where a pair is longer.
    - ``long_documents``: ``truncate``, or ``chunk``: all of a document longer than that is scored, in windows.
    - ``calibration``: scores are sigmoid(a * raw + b) instead of sigmoid(raw): ``(a, b)``, ``"a,b"``, or a file that
      ``rerank eval --calibrate`` wrote.
    - ``label``: which output is the score, by number or name, for a checkpoint with several.
    - ``engine``: ``auto``, ``packed`` or ``reference``.
    - ``threads``: sets torch's CPU threads, which holds for the whole process.
    - ``trust_remote_code``: run Python code that a checkpoint brings along.
    - ``max_characters``: bounds the work on a text that is cut anyway: a tokenizer that has to read a text whole, and
      windows of a long document, read so many characters of it. Without it: all of them.

    Raises ``InvalidRequest`` for an argument that cannot be, ``CheckpointError`` for a model that cannot be found or
    run, ``MissingExtra`` where torch or the model ``lite`` is not installed.
    """
    require_libraries()
    ScoreOptions(truncation=truncation, long_documents=long_documents)  # says what is allowed
    platt = read_calibration(calibration)
    asked = {"device": device, "dtype": dtype, "engine": engine}
    if threads is not None and threads < 1:
        raise InvalidRequest(f"threads is {threads}: use at least 1")

    source = locate(model, revision, code=trust_remote_code)
    checkpoint = read_checkpoint(source)
    length = checkpoint.max_length(max_length)
    columns = checkpoint.head_columns(label)
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    engine_class, reason = choose_engine(checkpoint, engine, device=device, dtype=dtype)

    from rerank_core.checkpoints.tokenizer_files import read_tokenizer
    from rerank_core.engines.base import Batch
    from rerank_core.text.pair_tokenizers import BiEncoderTokenizer, CrossEncoderTokenizer

    text = read_tokenizer(checkpoint.directory, lowercase=checkpoint.lowercase)
    tokenizer: CrossEncoderTokenizer | BiEncoderTokenizer
    if checkpoint.kind == "bi-encoder":
        tokenizer = BiEncoderTokenizer(
            text.tokenizer,
            max_length=length,
            has_type_ids=checkpoint.has_type_ids,
            query_prompt=checkpoint.prompts["query"],
            document_prompt=checkpoint.prompts["document"],
            long_documents=long_documents,
            truncation_side=text.truncation_side,
            max_characters=max_characters,
        )
    else:
        tokenizer = CrossEncoderTokenizer(
            text.tokenizer,
            max_length=length,
            truncation=truncation,
            has_type_ids=checkpoint.has_type_ids,
            long_documents=long_documents,
            truncation_side=text.truncation_side,
            max_characters=max_characters,
        )
    check_tokens(checkpoint, text.tokenizer, tokenizer.template)
    if threads is not None:
        set_threads(threads)
    segments = distinct_segments(tokenizer(CALIBRATION_TEXTS, ScoreOptions()))
    network = engine_class.load(
        checkpoint,
        device=device,
        dtype=dtype,
        calibration_batch=Batch.of(segments),
        trust_remote_code=trust_remote_code,
    )
    check_network(checkpoint, network, segments)
    info = ModelInfo(
        name=checkpoint.name,
        revision=checkpoint.revision,
        kind=checkpoint.kind,
        engine=engine_class.name,
        engine_reason=reason,
        device=device,
        dtype=dtype,
        max_length=length,
        raw_score=_raw_score(checkpoint, columns),
        truncation_side=text.truncation_side,
        activation=checkpoint.activation,
        long_documents=long_documents,
        calibration=platt,
        languages=read_languages(source.directory),
    )
    # A calibration changes no raw score, which is what is kept by this. What lies beside the network's directory, as in
    # the oldest layout of sentence-transformers, is not in its digest.
    library = (checkpoint.pooling, checkpoint.similarity, checkpoint.normalizes, *sorted(checkpoint.prompts.items()))
    computed = (info.kind, info.engine, device, dtype, length, truncation, text.truncation_side, long_documents)
    choices = (*computed, columns, library)

    def fingerprint() -> str:
        return sha256(f"{digest(checkpoint.directory)} {choices}".encode()).hexdigest()

    reload = _reload(
        model,
        revision=pinned(model, checkpoint.revision),
        **asked,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        calibration=platt,
        label=label,
        threads=threads,
        trust_remote_code=trust_remote_code,
    )
    if isinstance(tokenizer, BiEncoderTokenizer):
        return BiEncoder(
            network,
            tokenizer,
            info,
            fingerprint,
            similarity=checkpoint.similarity,
            normalizes=checkpoint.normalizes,
            reload=reload,
        )
    return CrossEncoder(network, tokenizer, info, fingerprint, columns=columns, reload=reload)


_SIMILARITIES = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "Euclidean distance with a minus before it",
    "manhattan": "Manhattan distance with a minus before it",
}


def _raw_score(checkpoint: Checkpoint, columns: HeadColumns) -> str:
    """Describe the number that the raw score is."""
    if checkpoint.kind == "bi-encoder":
        return _SIMILARITIES[checkpoint.similarity]
    if len(checkpoint.labels) == 1:
        return "logit"
    score = f"logit of {checkpoint.labels[columns.label][:100]}"
    return score if columns.against is None else f"{score} minus logit of {checkpoint.labels[columns.against][:100]}"


def _reload(model: str, **options: object) -> partial[LocalModel]:
    """Describe how to load it once more: a name and one text, which are the same bytes whenever they are pickled."""
    given = {name: value for name, value in options.items() if value is not None}
    return partial(load_again, model, json.dumps(given, default=index))  # whole numbers may be numpy's


def load_again(model: str, options: str) -> LocalModel:
    """Load a pickled model again, with its options, which are JSON. Raises as ``load``."""
    return load(model, **json.loads(options))
