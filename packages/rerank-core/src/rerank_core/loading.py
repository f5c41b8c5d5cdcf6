"""From a model's name to something that scores."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from rerank_core.bi_encoder import BiEncoder
from rerank_core.calibration import read_calibration
from rerank_core.checkpoint import read_checkpoint
from rerank_core.cross_encoder import CrossEncoder
from rerank_core.devices import choose_device, choose_dtype
from rerank_core.engines import choose_engine
from rerank_core.errors import InvalidRequest, MissingExtra
from rerank_core.local_model import LocalModel
from rerank_core.manifest import digest
from rerank_core.sample import SAMPLE
from rerank_core.scoring import distinct_segments
from rerank_core.sources import DEFAULT_MODEL, locate
from rerank_core.types import LongDocuments, ModelInfo, ScoreOptions, Truncation

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy")


def require_libraries() -> None:
    """Raises ``MissingExtra`` where the libraries that run a model are not installed."""
    for name in _LIBRARIES:
        if find_spec(name) is None:
            raise MissingExtra(f"running a model here needs {name}: pip install 'rerank-core[torch]'")


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
      ``float16`` and ``bfloat16``. docs/scores.md says what each costs.
    - ``max_length``: tokens of a pair (cross-encoder) or of each side (bi-encoder); by default min(512, what the
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
    if threads is not None and threads < 1:
        raise InvalidRequest(f"threads is {threads}: use at least 1")

    checkpoint = read_checkpoint(locate(model, revision, code=trust_remote_code))
    length = checkpoint.max_length(max_length)
    label_index = checkpoint.label_index(label)
    device = choose_device(device)
    dtype = choose_dtype(dtype, device)
    engine_class, reason = choose_engine(checkpoint, engine, device=device, dtype=dtype)

    from rerank_core.engines.base import Batch
    from rerank_core.tokenization import PairTokenizer, SideTokenizer, load_tokenizer

    text = load_tokenizer(checkpoint.directory, lowercase=checkpoint.lowercase)
    tokenizer: PairTokenizer | SideTokenizer
    if checkpoint.kind == "bi-encoder":
        tokenizer = SideTokenizer(
            text,
            max_length=length,
            has_type_ids=checkpoint.has_type_ids,
            query_prompt=checkpoint.prompts["query"],
            document_prompt=checkpoint.prompts["document"],
            long_documents=long_documents,
            max_characters=max_characters,
        )
    else:
        tokenizer = PairTokenizer(
            text,
            max_length=length,
            truncation=truncation,
            has_type_ids=checkpoint.has_type_ids,
            long_documents=long_documents,
            max_characters=max_characters,
        )
    if threads is not None:
        _set_threads(threads)
    network = engine_class.load(
        checkpoint,
        device=device,
        dtype=dtype,
        sample=Batch.of(distinct_segments(tokenizer(SAMPLE, ScoreOptions()))),
        trust_remote_code=trust_remote_code,
    )
    info = ModelInfo(
        name=checkpoint.name,
        revision=checkpoint.revision,
        kind=checkpoint.kind,
        engine=engine_class.name,
        engine_reason=reason,
        device=device,
        dtype=dtype,
        max_length=length,
        activation=checkpoint.activation,
        long_documents=long_documents,
        calibration=platt,
    )
    # A calibration changes no raw score, which is what is kept by this.
    choices = (info.kind, info.engine, device, dtype, length, truncation, long_documents, label_index)

    def fingerprint() -> str:
        return sha256(f"{digest(checkpoint.directory)} {choices}".encode()).hexdigest()

    if isinstance(tokenizer, SideTokenizer):
        return BiEncoder(network, tokenizer, info, fingerprint)
    return CrossEncoder(network, tokenizer, info, fingerprint, label=label_index)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
