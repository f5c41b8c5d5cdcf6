"""Passes that are replayed as CUDA graphs, with a double that does the work again where a graph would be replayed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import ScoreOptions
from rerank_core.engines.packed import dtypes, graphs
from rerank_core.engines.packed.device_classes import DEVICE_CLASSES
from rerank_core.engines.packed.ops.linear import DeviceLinear
from rerank_core.errors import DeviceError, OutOfMemory
from rerank_core.models.local import LocalModel
from torch import Tensor

QUERY = "where does the giant panda live?"
SHORT, LONG = "bamboo", "a giant panda eats bamboo " * 12
MANY = [f"{word} {LONG}" for word in ("panda", "china", "bear", "lives", "paris", "france", "eats", "is", "the")]


class Capturing:
    """In place of CUDA: counts captures and replays. ``failure``: what a capture raises."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0
        self.failure: Exception | None = None

    def __call__(self, work: Callable[[], Tensor]) -> graphs.Captured:
        if self.failure is not None:
            raise self.failure
        self.captured += 1
        out = work().clone().fill_(torch.nan)  # a graph that is captured has computed nothing yet

        def replay() -> None:
            self.replayed += 1
            out.copy_(work())

        return replay, out


def attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, _: Tensor, longest: int, __: int) -> Tensor:
    """In place of the kernel: reads nothing but the bounds that lie on the device."""
    out = torch.full_like(query, torch.nan)  # rows behind the last bound are nobody's
    assert int(starts.diff().max()) <= longest
    for start, end in zip(starts.tolist(), starts.tolist()[1:], strict=False):
        if start < end:
            parts = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
            out[start:end] = torch.nn.functional.scaled_dot_product_attention(*parts)[0].transpose(0, 1)
    return out


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> Capturing:
    """Lets the CPU compute as a GPU does."""
    double = Capturing()
    monkeypatch.setitem(DEVICE_CLASSES, "cpu", replace(DEVICE_CLASSES["cuda"], pins_memory=False))
    monkeypatch.setattr(dtypes, "numbers", lambda device, dtype: (torch.float32, DeviceLinear))
    monkeypatch.setattr(graphs, "capture_on", lambda device: double)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", attend)
    return double


def loaded(directory: Path) -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", engine="packed")


def raw(model: LocalModel, *documents: str) -> tuple[float, ...]:
    return model.score(QUERY, documents, ScoreOptions(raw=True)).values


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "electra", "distilbert"])
def test_a_shape_is_captured_when_it_comes_again_and_gives_the_scores_of_a_cpu(
    family: str, tiny: Callable[..., Path], capturing: Capturing
) -> None:
    golden = raw(rerank_core.load(str(tiny(family)), device="cpu", engine="reference"), *MANY)
    model = loaded(tiny(family))
    captured, replayed = capturing.captured, capturing.replayed  # loading tries the model

    found = [raw(model, *MANY) for _ in range(3)]

    assert found[0] == pytest.approx(golden, abs=1e-5)
    assert found[1] == found[2] == found[0]
    assert (capturing.captured - captured, capturing.replayed - replayed) == (1, 2)


def test_the_shape_of_the_shortest_requests_is_captured_with_the_first_of_them(
    tiny: Callable[..., Path], capturing: Capturing
) -> None:
    """It was seen when the model was loaded, and warmed up."""
    raw(loaded(tiny("bert")), SHORT)

    assert (capturing.captured, capturing.replayed) == (1, 1)


def test_one_graph_serves_other_numbers_of_sequences_and_other_lengths(
    tiny: Callable[..., Path], capturing: Capturing
) -> None:
    documents = ["bamboo", "panda eats bamboo", "", "in china", "paris is the capital of france"]
    model = loaded(tiny("xlm-roberta"))
    alone = [raw(model, document)[0] for document in documents]

    together = raw(model, *documents)

    assert together == tuple(alone)
    assert capturing.captured == 1


def test_networks_that_read_the_places_of_sequences_are_launched_kernel_by_kernel(
    tiny: Callable[..., Path], capturing: Capturing
) -> None:
    model = loaded(tiny("deberta-v2"))

    assert raw(model, SHORT) == raw(model, SHORT) == raw(model, SHORT)
    assert capturing.captured == 0


def test_where_a_capture_fails_passes_are_launched_kernel_by_kernel_and_the_log_says_so_once(
    tiny: Callable[..., Path], capturing: Capturing, caplog: pytest.LogCaptureFixture
) -> None:
    capturing.failure = RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")
    model = loaded(tiny("bert"))

    scores = [raw(model, document) for document in (SHORT, SHORT, SHORT, LONG, LONG)]

    assert scores[0] == scores[1] == scores[2]
    assert (
        caplog.text.count("slower for short requests: CUDA error: operation not permitted when stream is capturing\n")
        == 1
    )


def test_a_device_that_fails_in_a_capture_is_a_device_error(tiny: Callable[..., Path], capturing: Capturing) -> None:
    model = loaded(tiny("bert"))
    capturing.failure = RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceError):
        raw(model, SHORT)


def test_memory_that_runs_out_in_a_capture_is_out_of_memory_and_the_next_request_captures_again(
    tiny: Callable[..., Path], capturing: Capturing
) -> None:
    wanted = raw(loaded(tiny("bert")), SHORT)
    model = loaded(tiny("bert"))
    capturing.failure = torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory):
        raw(model, SHORT)
    capturing.failure = None

    assert raw(model, SHORT) == wanted
    assert capturing.captured == 2


def test_no_more_graphs_are_kept_than_have_room(
    tiny: Callable[..., Path], capturing: Capturing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was used longest ago goes first."""
    monkeypatch.setattr(graphs, "_MOST", 1)
    model = loaded(tiny("xlm-roberta"))
    wanted = raw(model, *MANY, SHORT)

    for _ in range(2):
        raw(model, SHORT)
        assert raw(model, *MANY, SHORT) == wanted

    kept: Any = model._engine
    assert len(kept._network.graphs._graphs) == 1
    assert capturing.captured == 4
