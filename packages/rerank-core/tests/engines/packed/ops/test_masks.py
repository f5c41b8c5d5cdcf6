"""The masks of attention in blocks, as a device's kernels can read them.

A kernel of CUDA fails with "misaligned address" on a part of a mask that begins in the middle of a row. The device
``meta`` of torch computes nothing, and lays memory out as any other.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rerank_core.engines.packed.ops.attention import Bounds, LocalAttention, aligned
from rerank_core.engines.packed.ops.continued import AttentionInBlocks, LayerKeys, Places
from torch import Tensor

DEVICE = "meta"
ROWS, HEADS, WIDTH = 200, 2, 8


def tensors(count: int) -> list[Tensor]:
    return [torch.empty(ROWS, HEADS, WIDTH, device=DEVICE) for _ in range(count)]


def local(bounds: Bounds) -> None:
    query, key, value, out = tensors(4)
    LocalAttention(9, device=DEVICE, dtype=torch.float32)(query, key, value, bounds, out)


def in_blocks(bounds: Bounds, reach: int | None = None) -> None:
    query, key, value, out = tensors(4)
    attend = AttentionInBlocks(reach=reach, positions=ROWS + 1, device=DEVICE, dtype=torch.float32)
    attend(query, LayerKeys((key, value), [None], Places(bounds, bounds, [0])), out)


def in_near_blocks(bounds: Bounds) -> None:
    in_blocks(bounds, reach=9)


@pytest.mark.parametrize("attend", [local, in_blocks, in_near_blocks])
def test_a_mask_on_a_device_begins_at_its_own_memory(
    attend: Callable[[Bounds], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    places, masks = [0, ROWS], []
    computed = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Tensor:
        masks.append(mask)
        return computed(query, key, value, mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)

    attend(Bounds(places, torch.empty(2, dtype=torch.int32, device=DEVICE)))

    assert len(masks) == 4
    assert {mask.storage_offset() for mask in masks} == {0}


def test_on_a_cpu_a_part_of_a_mask_is_not_copied() -> None:
    mask = torch.zeros(64, 100)

    assert aligned(mask[:, 3:]).data_ptr() == mask[:, 3:].data_ptr()
