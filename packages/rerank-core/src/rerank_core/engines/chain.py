"""Computes the layers of a sentence-transformers chain, on pooled vectors in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional

from rerank_core.checkpoints.chain import Activation, ChainLayer, Dense, LayerNorm
from rerank_core.checkpoints.weights import weight_files
from rerank_core.errors import CheckpointError

_FEW = 32  # columns: with fewer a matrix product has other bits for another number of rows

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "ReLU": torch.relu,
    "GELU": functional.gelu,
    "SiLU": functional.silu,
}


@dataclass(frozen=True, slots=True)
class _Product:
    """activation(x W^T + b)."""

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Compute [rows, outputs]."""
        if len(self.weight) >= _FEW:
            return self.activation(functional.linear(x, self.weight, self.bias))
        product = (x[:, None] * self.weight).sum(-1)
        return self.activation(product if self.bias is None else product + self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    """Layer normalisation, with the epsilon of torch.nn."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


class ChainLayers:
    """The layers behind the pooling. ``width``: how many numbers a pooled vector has."""

    def __init__(self, root: Path, layers: tuple[ChainLayer, ...], *, width: int, device: str) -> None:
        """Read the weights. Raises ``CheckpointError`` where they do not fit their configuration, or each other."""
        self._layers: list[Callable[[Tensor], Tensor]] = []
        for layer in layers:
            width = self._add(root / layer.folder, layer, width, device)

    def __call__(self, pooled: Tensor) -> Tensor:
        """Compute [rows, outputs] of [rows, width], in float32."""
        x = pooled.float()
        for layer in self._layers:
            x = layer(x)
        return x

    def _add(self, directory: Path, layer: ChainLayer, width: int, device: str) -> int:
        """Add a layer that reads ``width`` numbers, and return how many it gives."""
        inputs = layer.inputs if isinstance(layer, Dense) else layer.size
        if inputs != width:
            raise CheckpointError(f"{directory / 'config.json'} reads {inputs} numbers, and is given {width}")
        match layer:
            case Dense(outputs=outputs):
                shapes: dict[str, tuple[int, ...]] = {"linear.weight": (outputs, inputs)}
                if layer.has_bias:
                    shapes["linear.bias"] = (outputs,)
                weights = _read(directory, shapes, device)
                activation = _ACTIVATIONS[layer.activation]
                self._layers.append(_Product(weights["linear.weight"], weights.get("linear.bias"), activation))
                return outputs
            case LayerNorm():
                weights = _read(directory, {"norm.weight": (inputs,), "norm.bias": (inputs,)}, device)
                self._layers.append(_Norm(weights["norm.weight"], weights["norm.bias"]))
                return inputs
            case _:
                assert_never(layer)


def _read(directory: Path, shapes: dict[str, tuple[int, ...]], device: str) -> dict[str, Tensor]:
    """Read a module's parameters in float32, each of the shape that is wanted, and no others."""
    (path,) = weight_files(directory)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable)
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or not complete ({error}): fetch the model again") from error
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != shapes:
        raise CheckpointError(f"{path} holds {found}, and its config.json asks for {shapes}")
    return {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}
