"""What the settings make of a checkpoint."""

from pathlib import Path

import pytest
from rerank_core.errors import InvalidRequest
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
