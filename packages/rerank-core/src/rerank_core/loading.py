"""Loads a model by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from operator import index
from pathlib import Path
from typing import Any, TypedDict, assert_never

from rerank_core.calibration import read_calibration
from rerank_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from rerank_core.checkpoints.heads import Classification, Head, Pooling, TokenLogits
from rerank_core.checkpoints.labels import HeadColumns
from rerank_core.checkpoints.language_model import PromptChoice
from rerank_core.checkpoints.manifest import digest
from rerank_core.checkpoints.model_card import read_card
from rerank_core.checkpoints.sources import DEFAULT_MODEL, locate, pinned
from rerank_core.engines import choose_engine
from rerank_core.engines.hardware.devices import choose_device, choose_dtype, set_threads
from rerank_core.engines.target import Target
from rerank_core.errors import InvalidRequest, MissingExtra
from rerank_core.load_options import LoadOptions
from rerank_core.models.bi_encoder import BiEncoder
from rerank_core.models.calibration_texts import CALIBRATION_TEXTS
from rerank_core.models.consistency import check_network, check_tokens
from rerank_core.models.cross_encoder import CrossEncoder
from rerank_core.models.local import LocalModel
from rerank_core.models.scoring import distinct_sequences
from rerank_core.models.task import Task
from rerank_core.pairs import encode_pairs
from rerank_core.types import LongDocuments, ModelInfo, ScoreOptions, Truncation, TruncationSide

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy")


def require_libraries() -> None:
    """Raise ``MissingExtra`` where the libraries that run a model are not installed."""
    for name in _LIBRARIES:
        if find_spec(name) is None:
            raise MissingExtra.needs(f"running a model here needs {name}", "rerank-core[torch]")


class _TokenizerOptions(TypedDict):
    max_length: int
    has_type_ids: bool
    long_documents: LongDocuments
    truncation_side: TruncationSide
    max_characters: int | None


def load(
    model: str = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    truncation: Truncation = "longest_first",
    long_documents: LongDocuments = "truncate",
    recipe: str | None = None,
    template: str | None = None,
    instruction: str | None = None,
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
    - ``recipe``: the recipe of a language model whose files do not name its prompt (docs/models.md); ``"none"``: no
      prompt. ``template``: a prompt of one's own, as Jinja text or the path of a file.
    - ``instruction``: that of a request without one, for a model that takes one; None: the model's own.
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
    platt = read_calibration(calibration)
    wanted = PromptChoice(recipe=recipe, template=template).read()
    options = LoadOptions(
        revision=revision,
        device=device,
        dtype=dtype,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        recipe=recipe,
        template=wanted.template,
        instruction=instruction,
        calibration=platt,
        label=label,
        engine=engine,
        threads=threads,
        trust_remote_code=trust_remote_code,
        max_characters=max_characters,
    )

    source = locate(model, revision, code=trust_remote_code)
    checkpoint = _with_instruction(read_checkpoint(source, wanted), instruction)
    length = checkpoint.max_length(max_length)
    columns = _columns(checkpoint, label)
    device = choose_device(device)
    target = Target(device, choose_dtype(dtype, device))
    chosen = choose_engine(checkpoint, engine, target)

    from rerank_core.checkpoints.tokenizer_files import read_tokenizer
    from rerank_core.engines.base import Batch
    from rerank_core.text.pair_tokenizers import BiEncoderTokenizer, CrossEncoderTokenizer
    from rerank_core.text.prompts import PromptTokenizer

    text = read_tokenizer(checkpoint.directory, lowercase=checkpoint.lowercase)
    common: _TokenizerOptions = {
        "max_length": length,
        "has_type_ids": checkpoint.has_type_ids,
        "long_documents": long_documents,
        "truncation_side": text.truncation_side,
        "max_characters": max_characters,
    }
    tokenizer: CrossEncoderTokenizer | BiEncoderTokenizer | PromptTokenizer
    task: Task[Any]
    match checkpoint.head:
        case (Classification() | TokenLogits()) as head if checkpoint.prompt is not None:
            tokenizer = PromptTokenizer(
                text.tokenizer,
                checkpoint.prompt,
                truncation=truncation,
                shares_prefix=head.chain is None and checkpoint.is_causal,
                **common,
            )
            task = CrossEncoder(tokenizer, columns)
        case Classification() | TokenLogits() as head:
            before_query = head.prompts.get("query", "")
            tokenizer = CrossEncoderTokenizer(
                text.tokenizer, truncation=truncation, query_prompt=before_query, **common
            )
            task = CrossEncoder(tokenizer, columns)
        case Pooling(prompts=prompts) as head:
            query_prompt, document_prompt = prompts["query"], prompts["document"]
            tokenizer = BiEncoderTokenizer(
                text.tokenizer, query_prompt=query_prompt, document_prompt=document_prompt, **common
            )
            task = BiEncoder(
                tokenizer, similarity=head.similarity, normalizes=head.normalizes, dimensions=head.dimensions
            )
        case _:
            assert_never(checkpoint.head)
    check_tokens(checkpoint, text.tokenizer, tokenizer.template)
    if threads is not None:
        set_threads(threads)
    sequences = distinct_sequences(encode_pairs(task.encode, CALIBRATION_TEXTS, ScoreOptions()))
    network = chosen.plan.load(Batch.of(sequences), trust_remote_code=trust_remote_code)
    check_network(checkpoint, network, sequences)
    info = ModelInfo(
        name=checkpoint.name,
        revision=checkpoint.revision,
        kind=checkpoint.head.kind,
        engine=chosen.engine,
        engine_reason=chosen.reason,
        device=device,
        dtype=target.dtype,
        max_length=length,
        raw_score=_raw_score(checkpoint.head, columns),
        truncation_side=text.truncation_side,
        activation=checkpoint.activation,
        long_documents=long_documents,
        calibration=platt,
        languages=read_card(source.directory).languages,
        takes_instruction=checkpoint.prompt is not None and checkpoint.prompt.takes_instruction,
        instruction=None if checkpoint.prompt is None else checkpoint.prompt.instruction,
        recipe=checkpoint.recipe,
        example_prompt=None if checkpoint.prompt is None else checkpoint.prompt.example(),
    )
    # A calibration changes no raw score, which is what is kept by this.
    computed = (info.kind, info.engine, device, info.dtype, length, truncation, text.truncation_side, long_documents)
    choices = (*computed, max_characters, columns, checkpoint.head, checkpoint.prompt)

    def fingerprint() -> str:
        return sha256(f"{digest(checkpoint.root)} {choices}".encode()).hexdigest()

    reload = _reload(model, replace(options, revision=pinned(model, checkpoint.revision)))
    return LocalModel(task, network, info, fingerprint, reload=reload)


def _with_instruction(checkpoint: Checkpoint, instruction: str | None) -> Checkpoint:
    """Set the default instruction. Raises ``InvalidRequest`` where the model takes none."""
    if instruction is None:
        return checkpoint
    if checkpoint.prompt is None or not checkpoint.prompt.takes_instruction:
        if instruction:
            raise InvalidRequest(f"{checkpoint.name} takes no instruction: leave instruction={instruction!r:.50} out")
        return checkpoint
    return replace(checkpoint, prompt=replace(checkpoint.prompt, instruction=instruction))


def _columns(checkpoint: Checkpoint, label: int | str | None) -> HeadColumns:
    """Choose the outputs that are the score. Raises ``InvalidRequest`` for a label that there is not."""
    match checkpoint.head:
        case Classification() as head:
            return head.columns(label, checkpoint.name)
        case Pooling() | TokenLogits():
            if label is not None:
                raise InvalidRequest(
                    f"{checkpoint.name} is a {checkpoint.head.kind}, which has no labels: leave label={label!r} out"
                )
            return HeadColumns(0)
        case _:
            assert_never(checkpoint.head)


def _raw_score(head: Head, columns: HeadColumns) -> str:
    """Describe the number that the raw score is."""
    return head.raw_score(columns) if isinstance(head, Classification) else head.raw_score


def _reload(model: str, options: LoadOptions) -> partial[LocalModel]:
    """Describe how to load it once more: a name and one text, which are the same bytes whenever they are pickled."""
    return partial(load_again, model, json.dumps(options.keywords(), default=index))  # whole numbers may be numpy's


def load_again(model: str, options: str) -> LocalModel:
    """Load a pickled model again, with its options, which are JSON. Raises as ``load``."""
    return load(model, **json.loads(options))
