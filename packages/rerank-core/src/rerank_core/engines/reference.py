"""Plain transformers: any architecture, the golden standard of every faster engine.

Sequences go through the network one by one. So nothing is padded, nothing is masked, and no row can know of another:
what comes out is what transformers says of that pair alone. On a CPU that is no slower than padded batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification, Head, Pooling
from rerank_core.checkpoints.weights import weight_files
from rerank_core.engines.base import Batch
from rerank_core.engines.failures import translates_failures
from rerank_core.engines.hardware.devices import with_number
from rerank_core.engines.target import Target, Unsupported
from rerank_core.engines.workers import WorkerPool, in_own_thread
from rerank_core.errors import CheckpointError
from rerank_core.types import TokenSequence

_UNUSED = ("pooler", "position_ids")  # parameters that a bi-encoder's pooling does not read


@dataclass(frozen=True, slots=True)
class ReferencePlan:
    """A checkpoint that transformers may load."""

    checkpoint: Checkpoint
    target: Target

    def load(self, calibration_batch: Batch, *, trust_remote_code: bool) -> ReferenceEngine:
        """See ``Plan.load``. Weights that do not fill the network are refused."""
        device = with_number(self.target.device)
        return in_own_thread(lambda: self._load(device, calibration_batch, trust_remote_code=trust_remote_code))

    def _load(self, device: str, calibration_batch: Batch, *, trust_remote_code: bool) -> ReferenceEngine:
        checkpoint = self.checkpoint
        auto = _auto_class(checkpoint.head)
        config_path = checkpoint.directory / "config.json"
        try:
            with no_progress_bar():
                model, report = auto.from_pretrained(
                    checkpoint.directory,
                    dtype=getattr(torch, self.target.dtype),
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=trust_remote_code,
                    output_loading_info=True,
                )
        except Exception as error:  # a foreign configuration may fail in as many ways as transformers has models
            raise CheckpointError(
                f"{config_path} and its weights make no model that transformers can load: {error}"
            ) from error
        missing = sorted(report["missing_keys"])
        if isinstance(checkpoint.head, Pooling):
            missing = [key for key in missing if not any(part in key for part in _UNUSED)]
        if missing:
            raise CheckpointError(
                f"{weight_files(checkpoint.directory)[0]} lacks {len(missing)} parameters of the network "
                f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): it is not a trained reranker"
            )
        model = model.to(device).eval()
        try:
            is_causal = _is_causal(model, calibration_batch, device)
        except Exception as error:  # a network may want what a pair of texts does not give, such as a language
            raise CheckpointError(
                f"{config_path} is of a network that fails on a text ({type(error).__name__}: {str(error)[:300]})"
            ) from error
        if is_causal:
            raise CheckpointError(
                f"{config_path} is of a causal network, in which no token sees those behind it: a language model, "
                "which scores by a prompt that is not part of its files. LLM rerankers are not supported"
            )
        return ReferenceEngine(model, checkpoint.head)


class ReferenceEngine:
    """transformers' own forward pass, one sequence at a time.

    It runs in one worker, which has as many of torch's threads as there were at load.
    """

    name: ClassVar[str] = "reference"

    def __init__(self, model: torch.nn.Module, head: Head) -> None:
        self._model = model.eval()
        self.device = str(next(model.parameters()).device)
        self._pooling = head.mode if isinstance(head, Pooling) else None
        self._worker = WorkerPool(1, warm_up=lambda: None, threads=torch.get_num_threads())

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> ReferencePlan:
        """See ``Engine.plan``: whatever transformers runs, in one of torch's own types."""
        if target.dtype in ("int8", "float16-weights"):
            raise Unsupported(f"it has no {target.dtype}")
        return ReferencePlan(checkpoint, target)

    @property
    def batch_tokens(self) -> int:
        """A small number: sequences run one by one, so a longer batch only makes others wait."""
        return 512

    def cost(self, sequences: Sequence[TokenSequence]) -> int:
        """See ``Engine.cost``. No prefix is shared."""
        return sum(map(len, sequences))

    @translates_failures
    def forward(self, batch: Batch) -> NDArray[np.float32]:
        """See ``Engine.forward``."""
        (rows,) = self._worker.map(self._rows, [batch])
        return rows

    @torch.inference_mode()
    def _rows(self, batch: Batch) -> NDArray[np.float32]:
        ends = np.cumsum(batch.lengths)
        return np.stack([self._row(batch, int(end - n), int(end)) for n, end in zip(batch.lengths, ends, strict=True)])

    def _row(self, batch: Batch, start: int, end: int) -> NDArray[np.float32]:
        inputs = {"input_ids": self._tensor(batch.token_ids[start:end])}
        if batch.type_ids is not None:
            inputs["token_type_ids"] = self._tensor(batch.type_ids[start:end])
        output = self._model(**inputs)
        if self._pooling is None:
            row = output.logits[0].float()
        else:
            hidden = output.last_hidden_state[0].float()
            row = hidden.mean(0) if self._pooling == "mean" else hidden[0]
        array: NDArray[np.float32] = row.cpu().numpy()
        return array

    def _tensor(self, numbers: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(numbers.astype(np.int64))[None].to(self.device)


def _auto_class(head: Head) -> Any:
    """Choose the class of transformers that loads a network with this head."""
    match head:
        case Classification():
            return AutoModelForSequenceClassification
        case Pooling():
            return AutoModel
        case _:
            assert_never(head)


@torch.inference_mode()
def _is_causal(model: Any, batch: Batch, device: str) -> bool:
    """Return whether no token of the network sees those behind it, whatever the network calls itself.

    Another last token changes the first token's hidden state in an encoder, and nothing in a causal network.
    """
    tokens = batch.token_ids[: int(batch.lengths[0])].astype(np.int64)
    states: list[torch.Tensor] = []
    for last in np.unique(tokens)[:2]:
        ids = torch.from_numpy(np.append(tokens[:-1], last))[None].to(device)
        state = getattr(model.base_model(input_ids=ids), "last_hidden_state", None)
        if state is not None:
            states.append(state[:, 0])
    return len(states) == 2 and torch.equal(*states)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a progress bar for every model that it reads."""
    was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            transformers_logging.enable_progress_bar()
