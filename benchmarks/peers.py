"""What the peers need: environments with libraries other than ours, a checkpoint in float32, and exports of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from rerank_core.checkpoints import manifest
from systems import EXPORTS, ONNX_RUNTIME, ONNX_RUNTIME_INT8, OPENVINO_BFLOAT16

# Pinned, so that their authors can check. FlagEmbedding does not import with the transformers after this one.
_FLAG_EMBEDDING = ["FlagEmbedding==1.4.2", "transformers==5.23.0"]
_ONNX_RUNTIME = ["onnxruntime==1.32.0", "onnx==1.23.2", "onnxscript==0.7.2", "transformers==5.23.0"]
REQUIREMENTS = {
    ONNX_RUNTIME: _ONNX_RUNTIME,
    ONNX_RUNTIME_INT8: _ONNX_RUNTIME,
    OPENVINO_BFLOAT16: ["openvino==2026.4.1", "transformers==5.23.0"],
    "FlagEmbedding": _FLAG_EMBEDDING,
    "FlagEmbedding, b16": _FLAG_EMBEDDING,
    "infinity": ["infinity-emb[torch]==0.0.78", "transformers==4.47.1", "optimum<2", "click<8.2"],
}
_TORCH = "torch==2.13.0"
_ENVIRONMENTS = Path(__file__).parent / ".peers"
_EXPORTS = _ENVIRONMENTS / "exports"
_EXPORT = Path(__file__).parent / "export_peer.py"


def interpreter(system: str) -> str:
    """The Python that runs a system: ours, or one of a throw-away environment, made by uv once for its requirements."""
    requirements = REQUIREMENTS.get(system)
    if requirements is None:
        return sys.executable
    name = requirements[0].split("==")[0].split("[")[0]
    environment = _ENVIRONMENTS / name
    python = environment / "bin" / "python"
    ready, wanted = environment / "ready", "\n".join([_TORCH, *requirements])
    if not ready.exists() or ready.read_text() != wanted:
        print(f"making an environment for {name} ...", file=sys.stderr, flush=True)
        uv = os.environ.get("UV", "uv")
        links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
        subprocess.run([uv, "venv", "--quiet", "--clear", str(environment)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
        where = ["--find-links", links] if links else ["--torch-backend", "cpu"]
        subprocess.run([*install, *where, _TORCH, "sentencepiece", *requirements], check=True)
        ready.write_text(wanted)
    return str(python)


def files_of(system: str, checkpoint: Path) -> Path:
    """The directory that a system reads: the checkpoint, or its export, which is made once for these weights.

    Raises ``subprocess.CalledProcessError``.
    """
    wanted = EXPORTS.get(system)
    return checkpoint if wanted is None else _exported(wanted, interpreter(system), REQUIREMENTS[system], checkpoint)


def _exported(wanted: str, python: str, requirements: list[str], checkpoint: Path) -> Path:
    folder = _EXPORTS / _digest(checkpoint) / wanted
    ready, pins = folder / "ready", "\n".join([_TORCH, *requirements])
    if not ready.exists() or ready.read_text() != pins:
        source = _exported("onnx", python, requirements, checkpoint) if wanted == "onnx-int8" else checkpoint
        print(f"exporting {checkpoint.name} to {wanted} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        command = [python, str(_EXPORT), wanted, str(source), str(folder)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            print(found.stdout, found.stderr, file=sys.stderr)
        found.check_returncode()
        ready.write_text(pins)
    return folder


def _digest(checkpoint: Path) -> str:
    """Of what an export holds: the network and its tokenizer."""
    digests = []
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (checkpoint / name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def in_float32(checkpoint: Path, scratch: Path) -> Path:
    """The checkpoint, or a copy in float32: some peers compute in whatever the file holds."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    if all(tensor.element_size() == 4 for tensor in tensors.values() if tensor.is_floating_point()):
        return checkpoint
    copy = scratch / checkpoint.name
    left_out = shutil.ignore_patterns("*.safetensors", manifest.NAME)  # the manifest is of the files as they were
    shutil.copytree(checkpoint, copy, ignore=left_out, copy_function=shutil.copyfile)
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_file(floats, copy / "model.safetensors", metadata={"format": "pt"})
    (copy / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32", "dtype": "float32"}))
    return copy
