"""Mistral: Llama with a window in all layers, or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core.engines.packed.architectures.decoder import SLIDING, DecoderArchitecture, window
from rerank_core.engines.target import Unsupported


def _windows(config: Mapping[str, Any], layers: int) -> Sequence[int | None]:
    """Read the window of all layers; a configuration that does not say has one of 4096."""
    types = config.get("layer_types")
    if types is not None and set(types) != {SLIDING}:
        raise Unsupported(f"layer_types is {types!r:.100}: it knows one kind of layers in this family")
    size = config.get("sliding_window", 4096)
    return [None if size is None else window(size)] * layers


MISTRAL = DecoderArchitecture(
    name="Mistral", examples=("ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b",), windows=_windows
)
