"""Loads the model that the settings name."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rerank_core import load
from rerank_core.engines.hardware.cpus import available_cpus
from rerank_core.engines.hardware.devices import choose_device
from rerank_core.load_options import read_label
from rerank_core.loading import require_libraries
from rerank_core.models.local import LocalModel
from rerank_core.scorer import StepwiseModel
from rerank_core.types import ModelInfo

from rerank_server.inference.cache import ScoreCache
from rerank_server.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, and the cache of its scores, if there is one."""

    model: StepwiseModel
    cache: ScoreCache | None = None

    @classmethod
    def of(cls, model: StepwiseModel, settings: Settings) -> LoadedModel:
        """Add the cache of the settings. It needs a fingerprint of the model, for which all its files are read.

        There is none for a model whose scores depend on the other documents of a request. The log says what float16
        would bring to a model that computes in float32 on a GPU because nothing was set.
        """
        if model.info.device.startswith("cuda") and model.info.dtype == "float32" and settings.dtype == "auto":
            logger.info(
                "%s computes in float32 on %s: RERANK_DTYPE=float16 would take half the memory and use the GPU's "
                "tensor cores, and would change scores a little (docs/gpu.md); RERANK_DTYPE=float32 keeps it so "
                "without this line",
                model.info.name,
                model.info.device,
            )
        if not settings.cache_mb:
            return cls(model)
        if not model.independent:
            logger.warning("RERANK_CACHE_MB has no effect: a score of this model depends on the whole list")
            return cls(model)
        return cls(model, ScoreCache(settings.cache_mb * 1_000_000, model.fingerprint()))


def load_model(settings: Settings) -> LocalModel:
    """Load the model. Raises ``RerankError`` where it cannot be loaded."""
    require_libraries()
    device = choose_device(settings.device)
    return load(
        settings.model,
        revision=settings.revision,
        device=device,
        dtype=_dtype(settings, device),
        max_length=settings.max_length,
        truncation=settings.truncation,
        long_documents=settings.long_documents,
        recipe=settings.recipe,
        template=settings.template,
        instruction=settings.instruction,
        calibration=settings.calibration,
        label=None if settings.label is None else read_label(settings.label),
        engine=settings.engine,
        threads=settings.threads or available_cpus(),
        trust_remote_code=settings.trust_remote_code,
        max_characters=settings.max_text_chars,
    )


def describe(info: ModelInfo) -> str:
    """Describe the model in a line, with the source of a language model's prompt: a wrong one scores badly."""
    prompt = "" if info.recipe is None else f", prompt: {info.recipe}"
    return f"{info.title} on {info.device} in {info.dtype} by the {info.engine} engine{prompt}"


def _dtype(settings: Settings, device: str) -> str:
    if not settings.use_fp16:
        return settings.dtype
    if device.startswith("cuda") or settings.dtype == "float16":
        return "float16"
    logger.warning("USE_FP16=true needs CUDA, and the device is %s: the model computes in float32", device)
    return "float32"
