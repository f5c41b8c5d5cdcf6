"""The choices of each class of devices, as the engine uses them."""

from pathlib import Path

import pytest
import rerank_core
import torch
from rerank_core.engines.packed import dtypes, network
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.engine import PackedEngine
from rerank_core.engines.packed.ops.linear import MIN_ROWS, filled
from rerank_core.testing.checkpoints import write_tiny_checkpoint

HALVES = {torch.float16, torch.bfloat16}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> PackedEngine:
    directory: Path = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    model = rerank_core.load(str(directory), device="cpu", engine="packed")
    found = model._engine
    assert isinstance(found, PackedEngine)
    return found


@pytest.mark.parametrize(
    ("device", "workers", "batch_tokens"), [("cpu", 3, 3 * 1024), ("cuda:1", 1, 16384), ("mps", 1, 4096)]
)
def test_a_cpu_has_a_worker_for_each_thread_and_a_device_one_that_feeds_it(
    engine: PackedEngine, monkeypatch: pytest.MonkeyPatch, device: str, workers: int, batch_tokens: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    found = PackedEngine(engine._network, device=device)

    assert found._worker_count == workers
    assert found.batch_tokens == batch_tokens


@pytest.mark.parametrize(("device", "pins"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("mps", False)])
def test_ids_are_copied_to_cuda_from_pinned_memory(monkeypatch: pytest.MonkeyPatch, device: str, pins: bool) -> None:
    """The copy itself needs the device: here it goes nowhere."""
    calls: list[str] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: calls.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **options: calls.append("copied") or tensor)

    network.on_device(device, torch.zeros(3).numpy())

    assert calls == ["pinned", "copied"] if pins else ["copied"]


@pytest.mark.parametrize(
    ("device", "wanted"),
    [("cpu", set()), ("cuda", {torch.float32, *HALVES}), ("cuda:1", {torch.float32, *HALVES}), ("mps", set())],
)
def test_one_kernel_is_tried_on_cuda(device: str, wanted: set[torch.dtype]) -> None:
    found = {dtype for dtype in (torch.float32, *HALVES) if dtypes.has_one_kernel(device, dtype)}

    assert found == wanted


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_products_have_no_fewer_rows_than_the_batch_and_not_too_few(device: str) -> None:
    fill = class_of(device).fill

    assert [fill(rows) for rows in (1, 33, 2048)] == [filled(1), filled(33), filled(2048)] == [MIN_ROWS, 48, 2048]


def test_products_on_cuda_have_few_numbers_of_rows_and_an_eighth_more_at_most() -> None:
    fill = class_of("cuda:1").fill

    assert [fill(rows) for rows in (1, 256, 257, 1000, 16_384, 16_385)] == [256, 256, 288, 1024, 16_384, 18_432]
    assert all(rows <= fill(rows) < 1.125 * rows + 1 for rows in range(256, 20_000))
    assert len({fill(rows) for rows in range(1, 16_385)}) == 49
