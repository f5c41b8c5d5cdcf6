"""What a CPU lacks, in its place: a dry run takes the road of a GPU, all but the device itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from rerank_core.engines.hardware import cpu_features, devices
from rerank_core.engines.packed import dtypes, graphs
from rerank_core.engines.packed.device_classes import DEVICE_CLASSES
from rerank_core.engines.packed.kernels import instructions
from rerank_core.engines.packed.network import EncoderNetwork
from rerank_core.engines.packed.ops.linear import DeviceLinear
from torch import Tensor


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Let the device ``cpu`` compute as ``cuda`` does: in 16 bits, in one worker, with one kernel for all sequences."""
    known = {**devices._DTYPES_OF, "cpu": devices._DTYPES_OF["cuda"]}
    memory = _Memory()
    no_streams = mock.patch.multiple(
        torch.cuda, Stream=mock.MagicMock(), current_stream=mock.MagicMock(), stream=_nothing, synchronize=_nothing
    )
    graph = mock.patch.multiple(torch.cuda, CUDAGraph=_Graph, graph=_nothing)
    counters = mock.patch.multiple(
        torch.cuda,
        memory_allocated=_no_bytes,
        max_memory_allocated=_no_bytes,
        memory_reserved=_no_bytes,
        empty_cache=_nothing,
        reset_peak_memory_stats=_nothing,
        mem_get_info=lambda: (8_000_000_000, 8_000_000_000),
        set_per_process_memory_fraction=memory.limit,
    )
    patches: list[AbstractContextManager[object]] = [
        no_streams,
        graph,
        counters,
        mock.patch.object(EncoderNetwork, "rows", memory.rows),
        mock.patch.object(devices, "_DTYPES_OF", known),
        mock.patch.object(cpu_features, "has_bfloat16", return_value=True),
        mock.patch.object(instructions, "found", return_value=None),  # a GPU has none of a CPU's kernels
        mock.patch.object(instructions, "computes_rows", return_value=False),
        mock.patch.object(instructions, "reads_rows", return_value=False),
        mock.patch.object(dtypes, "numbers", lambda device, dtype: (getattr(torch, dtype), DeviceLinear)),
        mock.patch.object(dtypes, "float_product", return_value=DeviceLinear),
        mock.patch.dict(DEVICE_CLASSES, cpu=replace(DEVICE_CLASSES["cuda"], pins_memory=False)),
        mock.patch.object(graphs, "capture_on", return_value=capture),
        mock.patch("torch.nn.attention.varlen.varlen_attn", attend),
    ]
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def capture(work: Callable[[], Tensor]) -> graphs.Captured:
    """In place of a capture: the work is done again where a graph would be replayed."""
    out = work()
    return lambda: out.copy_(work()), out


class _Graph:
    """In place of a CUDA graph: what it wrote when it was captured stays."""

    def replay(self) -> None:
        """Do nothing."""


class _Memory:
    """Runs out in the first batch behind a limit."""

    def __init__(self) -> None:
        self._is_short = False
        self._rows = EncoderNetwork.rows

    def limit(self, fraction: float) -> None:
        """In place of ``torch.cuda.set_per_process_memory_fraction``."""
        self._is_short = fraction < 1

    @property
    def rows(self) -> Callable[..., Any]:
        """In place of the network's own pass."""

        def rows(network: EncoderNetwork, batch: Any, sequences: Any, prefixes: Any) -> Any:
            if self._is_short:
                self._is_short = False
                raise torch.OutOfMemoryError("out of memory, by the dry run")
            return self._rows(network, batch, sequences, prefixes)

        return rows


def _no_bytes() -> int:
    return 0


def _nothing(*_: object, **__: object) -> AbstractContextManager[None]:
    return nullcontext()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    num_splits: int | None = None,
) -> Tensor:
    """Compute what torch's ``varlen_attn`` does, a sequence at a time."""
    out = torch.empty_like(query)
    bounds = zip(pairwise(cu_seq_q.tolist()), pairwise(cu_seq_k.tolist()), strict=True)
    for (first, end), (start, stop) in bounds:
        place = torch.arange(stop - start - (end - first), stop - start)[:, None]
        ahead = torch.arange(stop - start) - place
        left, right = (stop if reach < 0 else reach for reach in window_size)
        parts = (part.transpose(0, 1)[None] for part in (query[first:end], key[start:stop], value[start:stop]))
        q, k, v = parts
        is_seen = (ahead >= -left) & (ahead <= right)
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_seen, enable_gqa=enable_gqa)
        out[first:end] = attended[0].transpose(0, 1)
    return out
