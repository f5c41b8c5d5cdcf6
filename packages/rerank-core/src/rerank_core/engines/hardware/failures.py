"""Translates an engine's failures into errors of ours: every device words them differently."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from rerank_core.engines.base import Batch
from rerank_core.engines.hardware.memory import release_memory
from rerank_core.errors import DeviceError, EngineError, OutOfMemory, RerankError

Forward = TypeVar("Forward", bound=Callable[[Any, Batch], NDArray[np.float32]])

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_DEVICE = ("cuda error", "device-side assert", "cublas_status", "cudnn_status")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an engine failed for want of memory, so that a smaller batch may go through."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Return whether the device itself failed: after a CUDA error every later call of the process fails too."""
    if is_out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    known = getattr(torch, "AcceleratorError", ())
    return isinstance(error, known) or any(words in str(error).lower() for words in _DEVICE)


def translates_failures(forward: Forward) -> Forward:
    """Make an engine's ``forward`` raise ``OutOfMemory``, ``DeviceError`` or ``EngineError`` for what fails in it."""

    @wraps(forward)
    def translated(engine: Any, batch: Batch) -> NDArray[np.float32]:
        try:
            return forward(engine, batch)
        except RerankError:
            raise
        except Exception as error:  # an engine may fail in as many ways as its library
            if is_device_error(error):
                raise DeviceError(
                    f"{engine.device} is in an error state and computes no more ({type(error).__name__}): "
                    "start the process again"
                ) from error
            message = (
                f"the {engine.name} engine failed on {len(batch.lengths)} segments of {batch.lengths.sum()} tokens "
                f"({type(error).__name__}: {error})"
            )
            if not is_out_of_memory(error):
                raise EngineError(message) from error
        # Only here, where the error is gone, is what it held on to.
        release_memory()
        raise OutOfMemory(message)

    return translated  # type: ignore[return-value]
