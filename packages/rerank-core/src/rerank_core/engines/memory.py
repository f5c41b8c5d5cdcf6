"""Running out of memory, which every device says in its own words."""

from __future__ import annotations

import torch

_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine failed for want of memory, so that a smaller batch may go through."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def release_memory() -> None:
    """Give back what torch keeps for later: its blocks may be too small for what comes next."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
