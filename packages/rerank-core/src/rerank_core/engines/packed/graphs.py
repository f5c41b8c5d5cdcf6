"""Passes of a network as CUDA graphs: all kernels of a pass are launched at once.

A pass of 24 layers launches some 300 kernels. For a short request Python takes ten times as long to launch them as the
device to compute them (``docs/gpu.md``). A graph repeats the same kernels in the same memory, so what a pass reads has
to have one of a few shapes: rows are filled up (``DeviceClass.fill``), empty sequences stand before the others, and the
longest sequence counts as a power of two. None of these changes a bit of a score: attention computes each sequence
alone, and a product gives a row the same bits for any of these numbers of rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rerank_core.engines.hardware.failures import is_device_error, is_out_of_memory
from rerank_core.engines.packed.device_classes import class_of
from rerank_core.engines.packed.encoder import PackedSequences
from rerank_core.engines.packed.ops.attention import Bounds

Captured: TypeAlias = tuple[Callable[[], object], Tensor]
"""Replays a graph; and the tensor that this writes."""

Capture: TypeAlias = Callable[[Callable[[], Tensor]], Captured]

_MOST = 64  # graphs: each keeps its kernels' arguments, and all share one pool of memory
_FEWEST_SEQUENCES, _SHORTEST = 8, 128

logger = logging.getLogger(__name__)


def capture_on(device: str) -> Capture:
    """Return what captures the kernels of a piece of work on a device, in a stream and a pool of memory of its own."""
    with torch.cuda.device(device):
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def capture(work: Callable[[], Tensor]) -> Captured:
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            # Other threads may go on using the device meanwhile.
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                out = work()
            except BaseException:
                with suppress(RuntimeError):  # it fails for the same reason
                    graph.capture_end()
                raise
            graph.capture_end()
        current.wait_stream(stream)
        return graph.replay, out

    return capture


@dataclass(frozen=True, slots=True)
class _Shape:
    """What passes of one graph have in common. ``rows``: of all tokens, filled up."""

    rows: int
    sequences: int
    longest: int
    has_types: bool


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph and the memory that it reads, as ``PackedSequences`` has it, and writes."""

    ids: Tensor
    offsets: Tensor
    replay: Callable[[], object]
    out: Tensor


class PassGraphs:
    """The graphs of a pass, by the shape of what it reads. For one thread at a time.

    ``compute`` turns packed sequences into float32 rows [sequences, outputs], and is nothing but kernels: it neither
    waits for the device nor reads the places of sequences.
    """

    def __init__(self, compute: Callable[[PackedSequences], Tensor], device: str, capture: Capture) -> None:
        self._compute = compute
        self._device = device
        self._capture = capture
        self._seen: set[_Shape] = set()
        self._graphs: dict[_Shape, _Graph] = {}  # the latest used last
        self._is_possible = True

    def rows(self, ids: NDArray[np.int64], places: Sequence[int], *, has_types: bool) -> NDArray[np.float32] | None:
        """Compute the rows of packed sequences; None where the pass has to be launched kernel by kernel.

        So it is the first time that a shape is seen, because capturing takes as long, and many shapes come only once.
        ``ids``: tokens, positions and types [3, rows].
        """
        count, longest = len(places) - 1, max(end - start for start, end in pairwise(places))
        shape = _Shape(
            ids.shape[1], power_of_two(count, _FEWEST_SEQUENCES), power_of_two(longest, _SHORTEST), has_types
        )
        if shape not in self._seen:
            self._seen.add(shape)
            return None
        with torch.cuda.device(self._device) if self._device != "cpu" else nullcontext():
            graph = self._graph(shape)
            if graph is None:
                return None
            offsets = np.zeros(shape.sequences + 1, dtype=np.int32)
            offsets[-len(places) :] = places
            for target, numbers in ((graph.ids, ids), (graph.offsets, offsets)):
                target.copy_(pinned(self._device, numbers), non_blocking=True)
            graph.replay()
            rows: NDArray[np.float32] = graph.out[-count:].cpu().numpy()
        return rows

    def _graph(self, shape: _Shape) -> _Graph | None:
        graph = self._graphs.pop(shape, None)
        if graph is None and self._is_possible:
            try:
                graph = self._captured(shape)
            except RuntimeError as error:
                self._graphs.clear()  # memory may be short
                if not is_refusal(error) and (is_device_error(error) or is_out_of_memory(error)):
                    raise
                self._is_possible = False
                reason = str(error).partition("\n")[0]
                logger.warning("passes are launched kernel by kernel, which is slower for short requests: %s", reason)
        if graph is not None:
            self._graphs[shape] = graph
            if len(self._graphs) > _MOST:
                del self._graphs[next(iter(self._graphs))]
        return graph

    def _captured(self, shape: _Shape) -> _Graph:
        ids = torch.zeros(3, shape.rows, dtype=torch.int64, device=self._device)
        offsets = torch.zeros(shape.sequences + 1, dtype=torch.int32, device=self._device)
        bounds = Bounds((), offsets, at_most=shape.longest)
        packed = PackedSequences(ids[0], ids[1], ids[2] if shape.has_types else None, bounds)
        return _Graph(ids, offsets, *self._capture(lambda: self._compute(packed)))


def is_refusal(error: RuntimeError) -> bool:
    """Return whether something in a pass does not let itself be captured.

    CUDA says "operation not permitted when stream is capturing" as it says that the device is broken, but computes on.
    """
    return "captur" in str(error)


def power_of_two(number: int, least: int) -> int:
    """Round a number up to a power of two, and to ``least``, which is one."""
    return max(least, 1 << (number - 1).bit_length())


def pinned(device: str, numbers: NDArray[np.generic]) -> Tensor:
    """Return numbers in memory from which a device copies them without waiting."""
    tensor = torch.from_numpy(numbers)
    return tensor.pin_memory() if class_of(device).pins_memory else tensor
