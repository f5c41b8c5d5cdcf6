"""Plain transformers: any architecture, the golden standard of every faster engine.

On a CPU, sequences go through the network one by one. So nothing is padded, nothing is masked, and no row can know of
another: what comes out is what transformers says of that pair alone, and it is no slower than padded batches. On a GPU
it would be, so batches are padded there, if the network gives the same with and without padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.nn import functional
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
)
from transformers.utils import logging as transformers_logging

from rerank_core.checkpoints.chain import PoolingMode
from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.checkpoints.weights import weight_files
from rerank_core.engines.base import Batch
from rerank_core.engines.chain import ChainLayers
from rerank_core.engines.failures import translates_failures
from rerank_core.engines.hardware.devices import with_number
from rerank_core.engines.padding import groups_of, padded
from rerank_core.engines.target import Target, Unsupported
from rerank_core.engines.unread import unread_fields, unread_parameters
from rerank_core.engines.workers import WorkerPool, in_own_thread
from rerank_core.errors import CheckpointError
from rerank_core.types import TokenSequence

_ALONE_TOKENS, _PADDED_TOKENS = 512, 16384

# As near as a padded row has to be to the one alone; 16 bits round a row differently in another shape.
_TOLERANCE, _ROUNDED_TOLERANCE = 1e-5, 0.05

# As near as a language model's logits have to be to its last product, relative to the largest of the vocabulary.
_TOLERANCE_OF_LOGITS = 1e-3

# Fields of a language model whose logits are not the last product's, and the values that change nothing.
_UNCHANGED: Mapping[str, tuple[object, ...]] = {
    "final_logit_softcapping": (None,),
    "logits_soft_cap": (None,),
    "output_logit_soft_cap": (None,),
    "logit_scale": (None, 1.0),
    "logits_scaling": (None, 1.0),
}

_UNUSED = ("pooler", "position_ids")  # parameters that a bi-encoder's pooling does not read


_POOLS: dict[PoolingMode, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda hidden: hidden.mean(0),
    "cls": lambda hidden: hidden[0],
    "lasttoken": lambda hidden: hidden[-1],
    "max": lambda hidden: hidden.amax(0),
}


@dataclass(frozen=True, slots=True)
class PooledHead:
    """The pooling of one text's hidden states [tokens, hidden], and the layers behind it."""

    pool: Callable[[torch.Tensor], torch.Tensor]
    layers: ChainLayers

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute logits [labels], or an embedding."""
        return self.layers(self.pool(hidden)[None])[0]


class AnswerHead:
    """The logit of a language model's answer at the last token: one row of the network's output, in float32."""

    def __init__(self, model: Any, answer: TokenLogits) -> None:
        weight: torch.Tensor = model.get_output_embeddings().weight
        self._row: torch.Tensor = weight[answer.true_id].float()
        if answer.false_id is not None:
            self._row = self._row - weight[answer.false_id].float()

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute the logit [1] from hidden states [tokens, hidden]."""
        return hidden[-1:] @ self._row


Head: TypeAlias = PooledHead | AnswerHead


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
        chain = checkpoint.head.chain
        config_path = checkpoint.directory / "config.json"
        # Products in pieces give the same numbers, and fail for most lengths.
        whole = {"chunk_size_feed_forward": 0} if checkpoint.config.get("chunk_size_feed_forward") else {}
        try:
            with no_progress_bar():
                model, report = _auto_class(checkpoint).from_pretrained(
                    checkpoint.directory,
                    dtype=getattr(torch, self.target.dtype),
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=trust_remote_code,
                    output_loading_info=True,
                    **whole,
                )
        except Exception as error:  # a foreign configuration may fail in as many ways as transformers has models
            raise CheckpointError(
                f"{config_path} and its weights make no model that transformers can load: {error}"
            ) from error
        missing = sorted(report["missing_keys"])
        if chain is not None:
            missing = [key for key in missing if not any(part in key for part in _UNUSED)]
        if missing:
            raise CheckpointError(
                f"{weight_files(checkpoint.directory)[0]} lacks {len(missing)} parameters of the network "
                f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): it is not a trained reranker"
            )
        _check_class(checkpoint, type(model).__name__)
        self._check_all_is_read(model, report["unexpected_keys"])
        model.config.return_dict = True  # whatever the configuration says
        model = model.to(device).eval()
        if checkpoint.is_causal:
            model.config.get_text_config().use_cache = False  # keys and values that nothing reads
        try:
            is_causal = _is_causal(model, calibration_batch, device)
            network, head = _network_and_head(model, checkpoint, calibration_batch)
        except CheckpointError:
            raise
        except Exception as error:  # a network may want what a pair of texts does not give, such as a language
            raise CheckpointError(
                f"{config_path} is of a network that fails on a text ({type(error).__name__}: {str(error)[:300]})"
            ) from error
        _check_direction(checkpoint, is_causal=is_causal)
        engine = ReferenceEngine(network, head)
        if _is_parallel(device):
            engine.pad_if_the_same(checkpoint.config.get("pad_token_id"), calibration_batch)
        return engine

    def _check_all_is_read(self, model: Any, unknown: Iterable[str]) -> None:
        """Refuse a checkpoint of which transformers would pass over something, and compute other scores."""
        config_path, config = self.checkpoint.directory / "config.json", type(model.config)
        fields = []
        if config.__module__.startswith("transformers."):  # not a checkpoint's own code
            fields = list(unread_fields(self.checkpoint.config, inspect.signature(config).parameters))
        modules, buffers = (dict(named) for named in (model.named_modules(), model.named_buffers()))
        parameters = unread_parameters(unknown, modules, buffers)
        if fields or parameters:
            what = f"parameters of its layers ({', '.join(parameters[:3])})" if parameters else ""
            raise CheckpointError(
                f"{config_path} has {' and '.join(filter(None, [*fields, what]))}, which {type(model).__name__} of "
                "transformers does not read: its scores would be others than those of the network that was trained"
            )


class ReferenceEngine:
    """transformers' own forward pass, one sequence at a time, or in padded batches.

    It runs in one worker, which has as many of torch's threads as there were at load.
    """

    name: ClassVar[str] = "reference"

    def __init__(self, model: torch.nn.Module, head: Head | None) -> None:
        """``head``: what stands behind the hidden states; None: the network has a head of its own."""
        self._model = model.eval()
        self.device = str(next(model.parameters()).device)
        self._head = head
        self._padding: int | None = None  # one sequence at a time
        self._worker = WorkerPool(1, warm_up=lambda: None, threads=torch.get_num_threads())

    @classmethod
    def plan(cls, checkpoint: Checkpoint, target: Target) -> ReferencePlan:
        """See ``Engine.plan``: whatever transformers runs, in one of torch's own types."""
        if target.dtype in ("int8", "float16-weights"):
            raise Unsupported(f"it has no {target.dtype}")
        return ReferencePlan(checkpoint, target)

    @property
    def batch_tokens(self) -> int:
        """A small number where sequences run one by one: a longer batch only makes others wait."""
        return _ALONE_TOKENS if self._padding is None else _PADDED_TOKENS

    @torch.inference_mode()
    def pad_if_the_same(self, padding: int | None, texts: Batch) -> None:
        """Pad batches from now on, if each of some texts gives the same alone and padded to the longest."""
        if padding is None:
            return
        everything = range(len(texts.lengths))
        alone = np.stack([self._padded_rows(texts, [index], None)[0] for index in everything])
        try:
            together = self._padded_rows(texts, everything, padding)
        except Exception:  # a network that takes no mask, or no texts of different lengths
            return
        tolerance = _TOLERANCE if next(self._model.parameters()).dtype == torch.float32 else _ROUNDED_TOLERANCE
        if np.allclose(together, alone, rtol=tolerance, atol=tolerance):
            self._padding = padding

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
        lengths = batch.lengths.tolist()
        groups = [[index] for index in range(len(lengths))]
        if self._padding is not None:
            groups = list(groups_of(lengths, _PADDED_TOKENS))
        order = np.argsort([index for group in groups for index in group])
        rows: NDArray[np.float32] = np.concatenate([self._padded_rows(batch, group, self._padding) for group in groups])
        return rows[order]

    def _padded_rows(self, batch: Batch, group: Sequence[int], padding: int | None) -> NDArray[np.float32]:
        """Compute the rows of some sequences; ``padding`` may be None for one alone, which has none."""
        inputs = padded(batch, group, padding or 0)
        arguments = {"input_ids": self._tensor(inputs.token_ids)}
        if inputs.type_ids is not None:
            arguments["token_type_ids"] = self._tensor(inputs.type_ids)
        if padding is not None:
            arguments["attention_mask"] = self._tensor(inputs.attention_mask)
        output = self._model(**arguments)
        if self._head is None:
            rows = output.logits.float()
        else:
            lengths = inputs.attention_mask.sum(1).tolist()
            hidden = output.last_hidden_state.float()
            rows = torch.stack([self._head(text[:length]) for text, length in zip(hidden, lengths, strict=True)])
        array: NDArray[np.float32] = rows.cpu().numpy()
        return array

    def _tensor(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self.device)


def _auto_class(checkpoint: Checkpoint) -> Any:
    """Choose transformers' class for a checkpoint's head."""
    if isinstance(checkpoint.head, TokenLogits):
        has_vision = any("ForConditionalGeneration" in name for name in checkpoint.config.get("architectures") or ())
        return AutoModelForImageTextToText if has_vision else AutoModelForCausalLM
    return AutoModelForSequenceClassification if checkpoint.head.chain is None else AutoModel


def _check_class(checkpoint: Checkpoint, made: str) -> None:
    """Refuse a language model of a class that transformers does not have, and of which it made another one.

    A listwise model may have the layers of a reranker of pairs, and a recipe that the user names fits it by mistake.
    """
    said = [str(name) for name in checkpoint.config.get("architectures") or ()]
    if checkpoint.prompt is None or not said or any(name == made or hasattr(transformers, name) for name in said):
        return
    raise CheckpointError(
        f"{checkpoint.directory / 'config.json'} says {', '.join(said)}, which transformers does not have: it made "
        f"{made} of the weights, whose scores would be others than those of the model that was trained"
    )


@torch.inference_mode()
def _network_and_head(model: Any, checkpoint: Checkpoint, texts: Batch) -> tuple[torch.nn.Module, Head | None]:
    """Return what computes hidden states, and what stands on them; None: the network has a head of its own."""
    chain = checkpoint.head.chain
    if chain is not None:
        width = model.config.get_text_config().hidden_size
        layers = ChainLayers(checkpoint.root, chain.layers, width=width, device=str(model.device))
        return model, PooledHead(_POOLS[chain.pooling], layers)
    if not isinstance(checkpoint.head, TokenLogits):
        return model, None
    _check_logits(model, checkpoint, texts)
    return model.base_model, AnswerHead(model, checkpoint.head)


def _check_logits(model: Any, checkpoint: Checkpoint, texts: Batch) -> None:
    """Refuse a network that changes its logits behind the last product: a text shows it, or the name of a field.

    A soft cap hardly changes small logits, so that one text may not show it.
    """
    config = model.config.get_text_config()
    said = {name: getattr(config, name, None) for name in _UNCHANGED}
    changes = [f"{name} {value!r:.100}" for name, value in said.items() if value not in _UNCHANGED[name]]
    ids = torch.from_numpy(texts.token_ids[: int(texts.lengths[0])].astype(np.int64))[None].to(model.device)
    hidden = model.base_model(input_ids=ids).last_hidden_state
    product = functional.linear(hidden, model.get_output_embeddings().weight)[0, -1].float()
    logits = model(input_ids=ids).logits[0, -1].float()
    if changes or (product - logits).abs().max() > _TOLERANCE_OF_LOGITS * product.abs().max():
        raise CheckpointError(
            f"{checkpoint.directory / 'config.json'} is of a network that changes its logits behind the last product, "
            f"by {' and '.join(changes) or 'a bias, a scale or a soft cap'}: not supported"
        )


def _check_direction(checkpoint: Checkpoint, *, is_causal: bool) -> None:
    """Refuse a network whose tokens see others than its files promise, and a language model without a prompt."""
    config_path = checkpoint.directory / "config.json"
    if is_causal and checkpoint.recipe is None:
        raise CheckpointError(
            f"{config_path} is of a causal network, in which no token sees those behind it: a language model, "
            "which is scored by a prompt, and its files do not say which: name a recipe with recipe=, or give "
            "template="
        )
    if checkpoint.is_causal != is_causal and (checkpoint.is_causal or checkpoint.recipe is not None):
        raise CheckpointError(
            f"{config_path} is of a network whose tokens {'see' if checkpoint.is_causal else 'do not see'} those "
            "behind them, which is not what it says of itself (is_causal, use_bidirectional_attention): this version "
            "of transformers computes it in another way"
        )


def _is_parallel(device: str) -> bool:
    """Return whether a device computes many sequences in nearly the time of one."""
    return device != "cpu"


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
