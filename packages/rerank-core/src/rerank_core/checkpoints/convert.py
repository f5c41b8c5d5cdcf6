"""Rewrites files of weights in float16: half the size, at the cost of rounding each weight."""

from __future__ import annotations

import shutil
from pathlib import Path

from rerank_core.errors import CheckpointError


def to_float16(file: Path) -> None:
    """Rewrite a safetensors file in place, its float32, float64 and bfloat16 numbers as float16; others stay.

    Raises ``CheckpointError`` where a number is beyond float16 (65504), or none; the file is then as it was.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors = {}
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
        for name in opened.keys():  # noqa: SIM118  # it has no __iter__
            tensor = opened.get_tensor(name)
            if tensor.is_floating_point() and tensor.dtype != torch.float16:
                tensor = tensor.to(torch.float16)
                if not bool(torch.isfinite(tensor).all()):
                    raise CheckpointError(f"{file.name}: {name} has numbers float16 cannot hold: keep float32 files")
            tensors[name] = tensor.contiguous()
    converted = file.with_name(file.name + ".float16")
    save_file(tensors, converted, metadata=metadata)
    shutil.copymode(file, converted)  # safetensors writes for the owner only
    converted.replace(file)
