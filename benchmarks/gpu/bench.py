"""What every section is given, and the table of sections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpu import shapes
from gpu.report import Report
from gpu.shapes import Size


@dataclass(frozen=True, slots=True)
class Bench:
    """``folder`` holds the checkpoints that sections share, and goes when the benchmark ends."""

    device: str
    size: Size
    folder: Path
    report: Report

    @property
    def is_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def default_model(self) -> Path:
        return shapes.write_shape(self.folder / "default", self.size.default, self.device)

    def minilm(self) -> Path:
        return shapes.write_shape(self.folder / "minilm", self.size.minilm, self.device)

    def decoder(self) -> Path:
        return shapes.write_decoder(self.folder / "decoder", self.size, self.device)

    def shapes(self) -> dict[str, Path]:
        """The two cross-encoders, by their names."""
        return {self.size.default.name: self.default_model(), self.size.minilm.name: self.minilm()}
