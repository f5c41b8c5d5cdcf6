"""Reads sentence-transformers' chain of modules behind the network: a pooling, and layers on the pooled vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from rerank_core.checkpoints.files import read_settings
from rerank_core.errors import CheckpointError

PoolingMode: TypeAlias = Literal["mean", "cls", "lasttoken", "max"]
Activation: TypeAlias = Literal["Identity", "Tanh", "Sigmoid", "ReLU", "GELU", "SiLU"]

_POOLINGS: tuple[PoolingMode, ...] = get_args(PoolingMode)
_ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

SCORES = "scores"  # the output of a reranker's last module
_EMBEDDING = "sentence_embedding"  # what every other module reads and writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A product with a weight [outputs, inputs], then an activation. ``folder``: its files, relative to the model's."""

    folder: str
    inputs: int
    outputs: int
    has_bias: bool
    activation: Activation

    def __str__(self) -> str:
        activation = "" if self.activation == "Identity" else f" {self.activation}"
        return f"Dense {self.inputs} to {self.outputs}{activation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm:
    """Layer normalisation of a vector of ``size`` numbers. ``folder``: its files, relative to the model's."""

    folder: str
    size: int

    def __str__(self) -> str:
        return "LayerNorm"


ChainLayer: TypeAlias = Dense | LayerNorm


@dataclass(frozen=True, slots=True)
class Chain:
    """The hidden states of a text become one vector, which goes through layers.

    ``pooling``: the ``mean`` of the hidden states, the largest of each column (``max``), or the state of the first
    token (``cls``) or of the last (``lasttoken``).
    """

    pooling: PoolingMode
    layers: tuple[ChainLayer, ...] = ()

    def __str__(self) -> str:
        return ", ".join([f"{self.pooling} pooling", *map(str, self.layers)])

    @property
    def outputs(self) -> int | None:
        """The length of the vector behind the layers; None where that is the network's hidden size."""
        return next((layer.outputs for layer in reversed(self.layers) if isinstance(layer, Dense)), None)


def read_chain(root: Path, modules: Sequence[str], paths: Sequence[Path], *, gives_scores: bool) -> Chain:
    """Read the modules of a model, by the class names and folders that modules.json lists.

    ``gives_scores``: the last one is a ``Dense`` whose output is the scores, as a reranker's is.
    Raises ``CheckpointError`` that names the module which is not supported.
    """
    path = root / "modules.json"
    if list(modules[:2]) != ["Transformer", "Pooling"]:
        raise CheckpointError(
            f"{path} lists {', '.join(modules) or 'nothing'}: only Transformer, Pooling, and Dense, LayerNorm, Dropout "
            "and Normalize behind them are supported"
        )
    behind = list(zip(modules, paths, strict=True))[2:]
    if behind and behind[-1][0] == "Normalize" and not gives_scores:  # the model's own embeddings are compared so
        behind = behind[:-1]
    layers: list[ChainLayer] = []
    for number, (name, folder) in enumerate(behind, 1):
        place = folder.relative_to(root).as_posix()
        match name:
            case "Dense":
                output = SCORES if gives_scores and number == len(behind) else _EMBEDDING
                layers.append(_dense(read_settings(folder / "config.json"), folder / "config.json", place, output))
            case "LayerNorm":
                size = _size(read_settings(folder / "config.json"), "dimension", folder / "config.json")
                layers.append(LayerNorm(folder=place, size=size))
            case "Dropout":
                pass  # only in training
            case _:
                raise CheckpointError(f"{path} lists {name[:100]} as module {number + 2}, which is not supported there")
    if gives_scores and not (layers and isinstance(layers[-1], Dense)):
        raise CheckpointError(f"{path} lists {', '.join(modules)}: the last module has to be a Dense that gives scores")
    return Chain(_pooling(paths[1] / "config.json"), tuple(layers))


def _pooling(path: Path) -> PoolingMode:
    config = read_settings(path)
    wanted = config.get("pooling_mode") or [
        key.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on
    ]
    modes = [wanted] if isinstance(wanted, str) else list(wanted)
    if config.get("include_prompt", True) is False:
        raise CheckpointError(f"{path} leaves the prompt out of the pooling (include_prompt): not supported")
    for known in _POOLINGS:
        if modes == [known]:
            return known
    asked = " and ".join(map(str, modes)) or "no"
    raise CheckpointError(f"{path} asks for {asked:.100} pooling: only {', '.join(_POOLINGS)} are supported")


def _dense(config: Mapping[str, Any], path: Path, folder: str, output: str) -> Dense:
    """Read a Dense module's configuration; ``output``: the name under which its result has to be kept."""
    source = config.get("module_input_name") or _EMBEDDING
    target = config.get("module_output_name") or source
    if (source, target) != (_EMBEDDING, output):
        raise CheckpointError(
            f"{path} reads {source!r:.100} and gives {target!r:.100}: "
            f"only a module that reads {_EMBEDDING} and gives {output} is supported there"
        )
    if config.get("use_residual"):
        raise CheckpointError(f"{path} has use_residual, which is not supported")
    has_bias = config.get("bias", True)
    if not isinstance(has_bias, bool):
        raise CheckpointError(f"{path}: bias is {has_bias!r:.100}: it is true or false")
    return Dense(
        folder=folder,
        inputs=_size(config, "in_features", path),
        outputs=_size(config, "out_features", path),
        has_bias=has_bias,
        activation=_activation(config, path),
    )


def _activation(config: Mapping[str, Any], path: Path) -> Activation:
    """Read the activation's class of torch; Tanh where an old file does not say, none for null."""
    said = config.get("activation_function", "torch.nn.Tanh")
    name = "torch.nn.Identity" if said is None else str(said)
    for known in _ACTIVATIONS:
        if name.startswith("torch.nn.") and name.rpartition(".")[2] == known:
            return known
    raise CheckpointError(
        f"{path}: activation_function is {name!r:.100}: only {', '.join(_ACTIVATIONS)} of torch.nn are known"
    )


def _size(config: Mapping[str, Any], name: str, path: Path) -> int:
    size = config.get(name)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise CheckpointError(f"{path}: {name} is {size!r:.100}, not a size")
    return size
