"""A model directory's weights: safetensors files, one or several with an index. Pickles are refused."""

from __future__ import annotations

from pathlib import Path

from rerank_core.checkpoints.files import is_there, member, read_settings
from rerank_core.errors import CheckpointError


def weight_files(directory: Path) -> list[Path]:
    """List the safetensors files of a model directory. Raises ``CheckpointError`` where they are missing."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if is_there(single):
        return [single]
    if is_there(index):
        listed = read_settings(index).get("weight_map", {})
        if not isinstance(listed, dict) or not listed:
            raise CheckpointError(f"{index} lists no files")
        paths = sorted({member(directory, name, index) for name in listed.values()})
        for path in paths:
            if path.suffix != ".safetensors":
                raise CheckpointError(f"{index} lists {path.name}, which is not a safetensors file")
            if not is_there(path):
                raise CheckpointError(f"{path} is missing, {index.name} lists it")
        return paths
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
    if pickles:
        raise CheckpointError(
            f"{directory / pickles[0]} is a pickle, which can run code when it is loaded, so it never is: "
            f"convert it to safetensors ({single} is missing)"
        )
    raise CheckpointError(f"{single} is missing: the directory holds no weights")


def count_tensors(directory: Path) -> int:
    """Check that the weights can be read, and count the parameters' tensors from the files' headers."""
    from safetensors import SafetensorError, safe_open

    tensors = 0
    for path in weight_files(directory):
        if not path.is_file():
            raise CheckpointError(f"{path} is not a file that can be read")
        try:
            with safe_open(path, framework="numpy") as file:
                tensors += len(file.keys())
        except (SafetensorError, OSError, MemoryError) as error:
            raise CheckpointError(
                f"{path} ({path.stat().st_size} bytes) is damaged or not complete ({error}): fetch the model again"
            ) from error
    if not tensors:
        raise CheckpointError(f"{weight_files(directory)[0]} holds no parameters")
    return tensors
