"""Reads the configuration of a packed decoder from a checkpoint, or says why it cannot run it.

As with encoders, the configuration and the parameters' names and shapes decide, and whatever is only nearly known is
refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import Classification, TokenLogits
from rerank_core.engines.packed.architectures import DECODERS
from rerank_core.engines.packed.architectures.decoder import DecoderArchitecture, DecoderPooling
from rerank_core.engines.packed.config_fields import (
    check_all_are_used,
    check_code,
    check_head_width,
    check_parameters,
    check_positions,
    check_size,
    find_activation,
    refuses_wrong_kinds,
)
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.target import Unsupported

# Fields of relatives that change what is computed.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "query_pre_attn_scalar": (None,),
    "use_bidirectional_attention": (None, False),
    "partial_rotary_factor": (None, 1, 1.0),
    "clip_qkv": (None,),
    "use_qk_norm": (None, False),
    "embedding_multiplier": (None, 1, 1.0),
    "residual_multiplier": (None, 1, 1.0),
    "attention_multiplier": (None,),
    "logits_scaling": (None, 1, 1.0),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
}

EMBEDDINGS, FINAL_NORM, OUTPUT, SCORE = "embed_tokens", "norm", "lm_head", "score"
# Parts of a layer: the name, and the part of ``DecoderArchitecture.biases``.
PRODUCTS = {
    "query": ("layers.{}.self_attn.q_proj", "attention_in"),
    "key": ("layers.{}.self_attn.k_proj", "attention_in"),
    "value": ("layers.{}.self_attn.v_proj", "attention_in"),
    "attention_out": ("layers.{}.self_attn.o_proj", "attention_out"),
    "gate": ("layers.{}.mlp.gate_proj", "feed_forward"),
    "up": ("layers.{}.mlp.up_proj", "feed_forward"),
    "down": ("layers.{}.mlp.down_proj", "feed_forward"),
}
NORMS = {"attention_norm": "layers.{}.input_layernorm", "norm": "layers.{}.post_attention_layernorm"}
HEAD_NORMS = {"query_norm": "layers.{}.self_attn.q_norm", "key_norm": "layers.{}.self_attn.k_norm"}


@dataclass(frozen=True, slots=True)
class LongWaves:
    """Llama 3's rotary positions for longer texts than in training, see ``ops.rotary.lowered``."""

    factor: float
    low: float
    high: float
    trained: int


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The pieces and sizes of a checkpoint's decoder.

    - ``prefix`` stands before the names of the decoder's parameters.
    - ``biased``: the kinds of products that have biases.
    - ``windows``: how many tokens are seen in each layer, None: all before.
    - ``theta``: the base of rotary positions; ``long_waves``: how these are changed.
    - ``ties_embeddings``: the output has the embeddings' weights.
    - ``padding``: the id that ``rightmost`` pooling passes over.
    - ``temperature``: a classification head's logits are divided by it.
    """

    architecture: DecoderArchitecture
    prefix: str
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    positions: int
    epsilon: float
    activation: Callable[[Tensor], object]
    biased: frozenset[str]
    windows: tuple[int | None, ...]
    theta: float
    long_waves: LongWaves | None
    is_causal: bool
    ties_embeddings: bool
    pooling: DecoderPooling
    padding: int | None
    temperature: float
    has_score_bias: bool

    def has_bias(self, part: str) -> bool:
        """Return whether one of ``PRODUCTS`` has a bias."""
        return PRODUCTS[part][1] in self.biased


def is_decoder(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint is of a family of decoders that is known here."""
    return checkpoint.config.get("model_type") in DECODERS


def read_decoder_config(checkpoint: Checkpoint, weights: Weights) -> DecoderConfig:
    """Read the configuration, and check it against every parameter of the checkpoint. Raises ``Unsupported``."""
    with refuses_wrong_kinds():
        found = _read(checkpoint, weights)
        _check_shapes(checkpoint, weights, found)
    return found


def _read(checkpoint: Checkpoint, weights: Weights) -> DecoderConfig:
    config = checkpoint.config
    architecture = DECODERS[str(config["model_type"])]
    check_code(checkpoint, architecture.code)
    for name, neutral in _NEUTRAL.items():
        if config.get(name) not in neutral:
            raise Unsupported(f"{name} is {config[name]!r:.100}: it does not compute that")
    hidden, layers, heads = (
        _size(config, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    key_heads = _size(config, "num_key_value_heads", heads)
    if heads % key_heads:
        raise Unsupported(f"{heads} heads do not divide into {key_heads} groups")
    width = _size(config, "head_dim", architecture.head_width or hidden // heads)
    check_head_width(width)
    positions = _size(config, "max_position_embeddings")
    check_positions(positions)
    windows = tuple(architecture.windows(config, layers))
    if not checkpoint.is_causal and any(windows):
        raise Unsupported("its tokens see each other, and there are windows: it knows them in causal networks")
    theta, long_waves = _rotary(config, positions)
    temperature = float(config.get("temperature", 1.0)) if architecture.divides_by_temperature else 1.0
    if not temperature > 0:
        raise Unsupported(f"temperature is {temperature}: it needs to be above 0")
    padding = config.get("pad_token_id")
    return DecoderConfig(
        architecture=architecture,
        prefix="model." if f"model.{EMBEDDINGS}.weight" in weights else "",
        hidden=hidden,
        layers=layers,
        heads=heads,
        key_heads=key_heads,
        head_width=width,
        positions=positions,
        epsilon=float(config.get("rms_norm_eps", 1e-6)),
        activation=find_activation(architecture.activation(config)),
        biased=frozenset(
            kind
            for kind, said in architecture.biases.items()
            if (said if isinstance(said, bool) else config.get(said, False))
        ),
        windows=windows,
        theta=theta,
        long_waves=long_waves,
        is_causal=checkpoint.is_causal,
        # As transformers does: an output of its own that is in the file counts, whatever the configuration says.
        ties_embeddings=bool(config.get("tie_word_embeddings", architecture.ties_embeddings))
        and f"{OUTPUT}.weight" not in weights,
        pooling=architecture.pooling(config),
        padding=None if padding is None else int(padding),
        temperature=temperature,
        has_score_bias=f"{SCORE}.bias" in weights,
    )


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if value is None:
        raise Unsupported(f"config.json does not say {name}")
    return check_size(name, value)


def _rotary(config: Mapping[str, Any], positions: int) -> tuple[float, LongWaves | None]:
    """Read the base of rotary positions and their scaling, as transformers writes them today or did before."""
    said = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    theta = float(said.pop("rope_theta", config.get("rope_theta") or 10_000.0))
    kinds = {said.pop(field) for field in ("rope_type", "type") if field in said} or {"default"}
    if said.get("partial_rotary_factor") in (None, 1, 1.0):
        said.pop("partial_rotary_factor", None)
    if kinds == {"llama3"}:
        found = LongWaves(
            float(said.pop("factor")),
            float(said.pop("low_freq_factor")),
            float(said.pop("high_freq_factor")),
            int(said.pop("original_max_position_embeddings", positions)),
        )
    elif kinds == {"default"}:
        found = None
    else:
        raise Unsupported(f"rotary positions are {' and '.join(sorted(map(str, kinds)))}: it knows default and llama3")
    if said:
        raise Unsupported(f"rotary positions have {', '.join(said)}, which it does not know")
    return theta, found


def _check_shapes(checkpoint: Checkpoint, weights: Weights, decoder: DecoderConfig) -> None:
    """Refuse a parameter that is missing, has another shape than the configuration says, or is not known."""
    config, head = checkpoint.config, checkpoint.head
    hidden, vocabulary = decoder.hidden, _size(config, "vocab_size")
    attention, keys = decoder.heads * decoder.head_width, decoder.key_heads * decoder.head_width
    intermediate = _size(config, "intermediate_size")
    shapes: dict[str, tuple[int, ...]] = {
        "query": (attention, hidden),
        "key": (keys, hidden),
        "value": (keys, hidden),
        "attention_out": (hidden, attention),
        "gate": (intermediate, hidden),
        "up": (intermediate, hidden),
        "down": (hidden, intermediate),
    }
    wanted: dict[str, tuple[int, ...]] = {f"{decoder.prefix}{EMBEDDINGS}.weight": (vocabulary, hidden)}
    for layer in range(decoder.layers):
        for part, shape in shapes.items():
            name = decoder.prefix + PRODUCTS[part][0].format(layer)
            wanted[f"{name}.weight"] = shape
            if decoder.has_bias(part):
                wanted[f"{name}.bias"] = shape[:1]
        for local in NORMS.values():
            wanted[f"{decoder.prefix}{local.format(layer)}.weight"] = (hidden,)
        for local in HEAD_NORMS.values() if decoder.architecture.normalizes_heads else ():
            wanted[f"{decoder.prefix}{local.format(layer)}.weight"] = (decoder.head_width,)
    wanted[f"{decoder.prefix}{FINAL_NORM}.weight"] = (hidden,)
    output = f"{OUTPUT}.weight"
    if isinstance(head, TokenLogits):
        for token in (head.true_id, head.false_id):
            if token is not None and not 0 <= token < vocabulary:
                raise Unsupported(f"there is no token {token} among {vocabulary}, whose logit is the score")
        if not decoder.ties_embeddings:
            wanted[output] = (vocabulary, hidden)
    else:
        weights.use(output)  # which nothing reads
    if isinstance(head, Classification) and head.chain is None:
        wanted[f"{SCORE}.weight"] = (len(head.labels), hidden)
        if decoder.has_score_bias:
            wanted[f"{SCORE}.bias"] = (len(head.labels),)
    check_parameters(weights, wanted)
    check_all_are_used(weights, computed_anew="rotary_emb.inv_freq")  # which follow from theta
