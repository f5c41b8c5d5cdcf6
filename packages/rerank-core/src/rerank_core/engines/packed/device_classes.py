"""How the packed engine uses each class of devices: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rerank_core.engines.packed.ops.linear import bucket, filled


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """The choices of one class of devices.

    ``worker_tokens``: the tokens that a worker should have in a batch, for the best speed. ``workers_are_threads``: one
    worker for each of torch's threads; else a single one, which feeds the device. ``pins_memory``: token ids are copied
    from pinned memory, so that the copy does not wait for what the device is doing. ``kernel_dtypes``: those in which
    torch's attention kernel for all sequences at once is tried. ``fill``: the rows of a product, made of at least so
    many. ``replays_graphs``: passes are replayed as CUDA graphs, see ``graphs``.
    """

    worker_tokens: int
    workers_are_threads: bool
    pins_memory: bool
    kernel_dtypes: frozenset[str]
    fill: Callable[[int], int]
    replays_graphs: bool = False


# Products on a CPU are at the machine's rate from about 1024 rows on; more would only make other requests wait longer.
# On an H200 batches of 8192 tokens are 3% slower than those of 16384, and larger ones no faster (docs/gpu.md). What mps
# has was chosen without measuring.
DEVICE_CLASSES = {
    "cpu": DeviceClass(
        worker_tokens=1024, workers_are_threads=True, pins_memory=False, kernel_dtypes=frozenset(), fill=filled
    ),
    "cuda": DeviceClass(
        worker_tokens=16384,
        workers_are_threads=False,
        pins_memory=True,
        kernel_dtypes=frozenset({"float16", "bfloat16", "float32"}),
        fill=bucket,
        replays_graphs=True,
    ),
    "mps": DeviceClass(
        worker_tokens=4096, workers_are_threads=False, pins_memory=False, kernel_dtypes=frozenset(), fill=filled
    ),
}


def class_of(device: str) -> DeviceClass:
    """Return the row of a device, which may have a number: ``cuda:1``."""
    return DEVICE_CLASSES[device.partition(":")[0]]
