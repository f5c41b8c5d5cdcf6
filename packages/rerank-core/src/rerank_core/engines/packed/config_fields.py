"""Fields of a configuration and parameters that are read alike for encoders and decoders. All raise ``Unsupported``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.engines.packed.ops.activations import ACTIVATIONS
from rerank_core.engines.packed.weights import Weights
from rerank_core.engines.target import Unsupported

_MOST_POSITIONS = 2**20  # of rotary positions, whose table no file bounds


@contextmanager
def refuses_wrong_kinds() -> Iterator[None]:
    """Refuse a configuration with a value that is of another kind than it should be."""
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise Unsupported(f"config.json holds a value of the wrong kind ({error})") from error


def check_code(checkpoint: Checkpoint, known: Collection[str]) -> None:
    """Refuse a checkpoint's own code, but for ``known`` classes, whose arithmetic is that of the family."""
    if isinstance(checkpoint.head, TokenLogits):
        task = "AutoModelForCausalLM"
    else:
        task = "AutoModelForSequenceClassification" if checkpoint.head.chain is None else "AutoModel"
    code = checkpoint.config.get("auto_map")
    if code is not None and str(code.get(task)).rpartition(".")[2] not in known:
        raise Unsupported("config.json names code of its own (auto_map), which may compute something else")


def check_size(name: str, value: object) -> int:
    """Check the size in a field, which is a number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Unsupported(f"config.json says {name} is {value!r:.100}: it needs a number from 1 on")
    return value


def check_head_width(width: int) -> None:
    """Check the width of a head with rotary positions."""
    if width % 2:
        raise Unsupported(f"heads of {width} have no halves to rotate against each other")


def check_positions(positions: int) -> None:
    """Check the number of rotary positions."""
    if not 1 <= positions <= _MOST_POSITIONS:
        raise Unsupported(f"max_position_embeddings is {positions}: it needs 1 to {_MOST_POSITIONS:,}")


def find_activation(name: object) -> Callable[[Tensor], object]:
    """Find an activation by the name that transformers has for it."""
    if name not in ACTIVATIONS:
        raise Unsupported(f"it knows the activations {', '.join(ACTIVATIONS)}, not {name!s:.100}")
    return ACTIVATIONS[str(name)]


def check_parameters(weights: Weights, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a parameter that is missing, or has another shape than the configuration says. These are in use then."""
    for name, shape in wanted.items():
        if name not in weights:
            raise Unsupported(f"the parameter {name} is missing")
        if weights.shape(name) != shape:
            raise Unsupported(f"the parameter {name} has the shape {weights.shape(name)}, not {shape}")
        weights.use(name)


def check_all_are_used(weights: Weights, *, computed_anew: str = "") -> None:
    """Refuse parameters that are not in use, but for those whose names end with ``computed_anew``."""
    unknown = [name for name in weights.unused if not (computed_anew and name.endswith(computed_anew))]
    if unknown:
        raise Unsupported(f"there are parameters that it does not know: {', '.join(unknown[:3])}")
