"""What the settings make of a checkpoint."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rerank_core.errors import InvalidRequest
from rerank_core.testing.doubles import OverlapModel
from rerank_server.lifecycle.loading import LoadedModel, load_model
from rerank_server.settings import Settings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch", reason="SKIPPED LOUDLY: the extra 'torch' is not installed")
    from rerank_core.testing.checkpoints import write_tiny_checkpoint

    path: Path = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    return str(path)


@pytest.mark.parametrize(
    ("settings", "dtype", "warns"),
    [
        ({"dtype": "float32"}, "float32", False),
        ({"use_fp16": True}, "float32", True),
    ],
)
def test_use_fp16_is_for_cuda_and_else_a_warning(
    checkpoint: str, caplog: pytest.LogCaptureFixture, settings: dict[str, object], dtype: str, *, warns: bool
) -> None:
    model = load_model(Settings(model=checkpoint, device="cpu", **settings))  # type: ignore[arg-type]

    assert model.info.dtype == dtype
    assert ("USE_FP16=true needs CUDA" in caplog.text) == warns


def test_float16_that_both_settings_ask_for_is_not_replaced(checkpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="'float16' is not for cpu"):
        load_model(Settings(model=checkpoint, device="cpu", dtype="float16", use_fp16=True))


@pytest.mark.parametrize("label", ["0", "LABEL_0"])
def test_a_label_is_a_number_or_a_name(checkpoint: str, label: str) -> None:
    assert load_model(Settings(model=checkpoint, device="cpu", label=label)).score("q", ["d"]).values


def test_a_cache_has_the_bytes_of_the_settings(checkpoint: str) -> None:
    settings = Settings(model=checkpoint, device="cpu", cache_mb=3)
    model = load_model(settings)

    assert LoadedModel.of(model, settings).cache is not None
    assert LoadedModel.of(model, Settings()).cache is None


class OnDevice(OverlapModel):
    """Reports another device and dtype than its own."""

    def __init__(self, device: str, dtype: str) -> None:
        super().__init__()
        self._info = replace(self._info, device=device, dtype=dtype)


@pytest.mark.parametrize(
    ("device", "dtype", "setting", "times"),
    [
        ("cuda:1", "float32", "auto", 1),
        ("cuda", "float32", "float32", 0),
        ("cuda", "float16", "float16", 0),
        ("cpu", "float32", "auto", 0),
    ],
)
async def test_the_log_says_once_what_float16_would_bring_to_a_gpu(
    serve: Callable[..., Any],
    until_ready: Callable[..., Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
    device: str,
    dtype: str,
    setting: str,
    times: int,
) -> None:
    with caplog.at_level(logging.INFO, logger="rerank_server"):
        async with serve(lambda _: OnDevice(device, dtype), dtype=setting) as client:
            await until_ready(client)
            await client.post("/rerank", json={"query": "panda", "texts": ["a panda"]})

    lines = [record.getMessage() for record in caplog.records if "RERANK_DTYPE=float16" in record.getMessage()]
    assert len(lines) == times
    assert all(f"overlap computes in float32 on {device}" in line for line in lines)
