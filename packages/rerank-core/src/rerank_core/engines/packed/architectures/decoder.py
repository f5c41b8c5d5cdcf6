"""Describes a family of decoders: its pieces, and the fields of its configuration.

All have the names of Llama's parameters, and most of its pieces: what is described is where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rerank_core.engines.target import Unsupported

DecoderPooling: TypeAlias = Literal["cls", "mean", "last", "rightmost"]
"""What a classification head reads: ``rightmost`` is the last token that is not the padding id."""

FULL, SLIDING = "full_attention", "sliding_attention"


def no_windows(config: Mapping[str, Any], layers: int) -> Sequence[int | None]:
    """Describe layers that all see the whole sequence. Raises ``Unsupported`` where the configuration has windows."""
    types = config.get("layer_types")
    if types is not None and set(types) != {FULL}:
        raise Unsupported(f"layer_types is {types!r:.100}: it knows {FULL} in this family")
    if config.get("sliding_window") is not None:
        raise Unsupported(f"sliding_window is {config['sliding_window']!r:.100}: it knows none in this family")
    return [None] * layers


def chosen_windows(config: Mapping[str, Any], layers: int) -> Sequence[int | None]:
    """Read Qwen's windows: switched on as a whole, then for the layers that are listed, or for the upper ones."""
    types = config.get("layer_types")
    said = config.get("sliding_window", 4096) if config.get("use_sliding_window", False) else None
    if said is None:
        if types is not None and set(types) != {FULL}:
            raise Unsupported(f"layer_types is {types!r:.100}, and use_sliding_window or sliding_window is not set")
        return [None] * layers
    size = window(said)
    if types is None:
        first = int(config.get("max_window_layers", 28))
        types = [FULL if layer < first else SLIDING for layer in range(layers)]
    if len(types) != layers or not set(types) <= {FULL, SLIDING}:
        raise Unsupported(f"layer_types is {types!r:.100}: it knows {FULL} and {SLIDING}, one a layer")
    return [None if kind == FULL else size for kind in types]


def window(size: object) -> int:
    """Check the number of tokens that a token sees, itself among them. Raises ``Unsupported``."""
    if type(size) is not int or size < 1:
        raise Unsupported(f"sliding_window is {size!r:.100}: it needs a number of tokens")
    return size


def hidden_act(config: Mapping[str, Any]) -> str:
    """Read the name of the activation."""
    return str(config.get("hidden_act", "silu"))


def rightmost(config: Mapping[str, Any]) -> DecoderPooling:
    """Describe a classification head that reads the last token that is not padding."""
    return "rightmost"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderArchitecture:
    """One family of decoders.

    - ``name``, ``examples``: of the family, and of models on the hub, for the documentation.
    - ``code``: the classes of a checkpoint's own code (auto_map) that compute the same.
    - ``biases``: whether ``attention_in`` (queries, keys and values), ``attention_out`` and ``feed_forward`` have
      biases, or the configuration's field that says so (by default they have none); what is not listed has none.
    - ``head_width``: of each head, where the configuration does not say; None: heads divide the hidden size.
    - ``normalizes_heads``: queries and keys are normalised before they are rotated.
    - ``norm_offset`` is added to the weights of norms.
    - ``scales_embeddings``: these are multiplied by the root of the hidden size.
    - ``ties_embeddings``: the output has the embeddings' weights, where the configuration does not say.
    - ``divides_by_temperature``: a classification head's logits are divided by the configuration's ``temperature``.
    - ``windows`` gives the number of tokens that are seen in each layer, None: all; ``activation`` the name of the
      activation; ``pooling`` what a classification head reads. All three raise ``Unsupported``.
    """

    name: str
    examples: tuple[str, ...]
    code: frozenset[str] = frozenset()
    biases: Mapping[str, bool | str] = field(default_factory=dict)
    head_width: int | None = None
    normalizes_heads: bool = False
    norm_offset: float = 0.0
    scales_embeddings: bool = False
    ties_embeddings: bool = False
    divides_by_temperature: bool = False
    windows: Callable[[Mapping[str, Any], int], Sequence[int | None]] = no_windows
    activation: Callable[[Mapping[str, Any]], str] = hidden_act
    pooling: Callable[[Mapping[str, Any]], DecoderPooling] = rightmost
