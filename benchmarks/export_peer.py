"""Write a checkpoint in a peer's own format: ``export_peer.py FORMAT SOURCE FOLDER``.

It runs in the peer's environment, not in ours. Beside the network lie the files that its tokenizer needs. The source is
the checkpoint; of ``onnx-int8`` it is the folder of ``onnx``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

ONNX, OPENVINO = "model.onnx", "model.xml"


def write_onnx(checkpoint: Path, folder: Path) -> None:
    """In float32, for any number and length of sequences."""
    import torch

    network, inputs = _network(
        checkpoint, attention="eager"
    )  # fewer operators than sdpa, which has no operator in ONNX
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in inputs}
    torch.onnx.export(
        network,
        (),
        str(folder / ONNX),
        kwargs=inputs,
        dynamo=True,
        dynamic_shapes=dynamic,
        input_names=list(inputs),
        output_names=["logits"],
        external_data=True,  # one file holds at most 2 GB
        verbose=False,
    )


def write_onnx_int8(in_float32: Path, folder: Path) -> None:
    """Quantize an export in float32: weights by output channel, inputs of products while it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        in_float32 / ONNX, folder / ONNX, per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True
    )


def write_openvino(checkpoint: Path, folder: Path) -> None:
    """In float32: OpenVINO rounds when it compiles."""
    import openvino

    network, inputs = _network(checkpoint, attention="sdpa")  # OpenVINO has an operator for it
    openvino.save_model(
        openvino.convert_model(network, example_input=inputs), folder / OPENVINO, compress_to_fp16=False
    )


def _network(checkpoint: Path, *, attention: str) -> tuple[Any, dict[str, Any]]:
    """Transformers' network, and an example of its inputs: two sequences."""
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation=attention
    ).eval()
    tokens = torch.full((2, 7), 5)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if getattr(network.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(tokens)
    return network, inputs


FORMATS = {"onnx": write_onnx, "onnx-int8": write_onnx_int8, "openvino": write_openvino}


def main() -> None:
    name, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True)
    FORMATS[name](source, folder)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / file, folder / file)


if __name__ == "__main__":
    main()
