"""Translates the failures of an engine's libraries and devices into errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rerank_core.engines.base import Batch
from rerank_core.engines.hardware.failures import is_device_error, is_out_of_memory
from rerank_core.engines.hardware.memory import release_memory
from rerank_core.errors import DeviceError, EngineError, OutOfMemory, RerankError

Forward = TypeVar("Forward", bound=Callable[[Any, Batch], NDArray[np.float32]])


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
                f"the {engine.name} engine failed on {len(batch.lengths)} sequences of {batch.lengths.sum()} tokens "
                f"({type(error).__name__}: {error})"
            )
            if not is_out_of_memory(error):
                raise EngineError(message) from error
        # Only here, where the error is gone, is what it held on to.
        release_memory()
        raise OutOfMemory(message)

    return translated  # type: ignore[return-value]
