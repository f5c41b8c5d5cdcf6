"""From settings to a model that is loaded and has scored once."""

from __future__ import annotations

import logging

from rerank_core import load
from rerank_core.devices import choose_device
from rerank_core.loading import require_libraries
from rerank_core.scorer import PairModel

from rerank_server.cpus import available_cpus
from rerank_server.settings import Settings

logger = logging.getLogger(__name__)


def load_model(settings: Settings) -> PairModel:
    """Load the model and score one pair with it, so that the first request finds it warm.

    Raises ``RerankError`` where that cannot be.
    """
    require_libraries()
    device = choose_device(settings.device)
    label = settings.label
    model = load(
        settings.model,
        revision=settings.revision,
        device=device,
        dtype=_dtype(settings, device),
        max_length=settings.max_length,
        truncation=settings.truncation,
        label=int(label) if label is not None and label.isdigit() else label,
        engine=settings.engine,
        threads=settings.threads or available_cpus(),
        trust_remote_code=settings.trust_remote_code,
    )
    model.score("Is it warm?", ["It is now."])
    return model


def _dtype(settings: Settings, device: str) -> str:
    if not settings.use_fp16:
        return settings.dtype
    if device.startswith("cuda") or settings.dtype == "float16":
        return "float16"
    logger.warning("USE_FP16=true needs CUDA, and this is %s: computing in float32", device)
    return "float32"
