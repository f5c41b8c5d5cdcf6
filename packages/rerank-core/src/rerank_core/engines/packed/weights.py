"""A checkpoint's parameters, mapped from its safetensors files: what is not touched is not read."""

from __future__ import annotations

from contextlib import ExitStack

from safetensors import safe_open
from torch import Tensor

from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.weights import weight_files


class Weights:
    """Parameters by name. ``unused`` says which were never asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._files = {}
        self._open = ExitStack()
        for path in weight_files(checkpoint.directory):
            file = self._open.enter_context(safe_open(path, framework="pt"))
            self._files.update(dict.fromkeys(file.keys(), file))
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a parameter's shape, read from the file's header."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def use(self, name: str) -> None:
        """Note that a parameter is accounted for."""
        self._used.add(name)

    def get(self, name: str) -> Tensor:
        """Return a parameter, mapped from its file."""
        self._used.add(name)
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor

    @property
    def unused(self) -> list[str]:
        """The parameters that nobody asked for."""
        return sorted(set(self._files) - self._used)
