"""Directories that training leaves and that are no model: each is answered with the way to one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rerank_core
from rerank_core import CheckpointError
from rerank_core.cli import main


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """What ``PeftModel.save_pretrained`` writes."""
    folder = tmp_path / "my-adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": "BAAI/bge-reranker-base", "task_type": "SEQ_CLS"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").touch()
    return folder


def refused(model: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        rerank_core.load(str(model), device="cpu")
    return str(caught.value)


def test_an_adapter_names_the_model_that_it_is_for_and_how_to_merge_them(adapter: Path) -> None:
    assert refused(adapter) == (
        f"{adapter} holds an adapter of PEFT (LORA) for BAAI/bge-reranker-base, not a model: merge the two, and load "
        f"the result. In Python: AutoPeftModelForSequenceClassification.from_pretrained('{adapter}').merge_and_unload()"
        ".save_pretrained('merged'), and save the tokenizer of BAAI/bge-reranker-base into merged too"
    )


def test_an_adapter_beside_a_configuration_is_no_model_either(adapter: Path, tiny: Callable[..., Path]) -> None:
    shutil.copy(tiny("bert") / "config.json", adapter)

    assert "holds an adapter of PEFT (LORA) for BAAI/bge-reranker-base" in refused(adapter)


@pytest.mark.parametrize("settings", ["{}", '{"peft_type": 1, "base_model_name_or_path": null}'])
def test_an_adapter_that_does_not_name_its_model_is_one(adapter: Path, settings: str) -> None:
    (adapter / "adapter_config.json").write_text(settings)

    assert "holds an adapter of PEFT for another model, not a model" in refused(adapter)


def test_an_adapter_is_not_fetched(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(adapter), str(tmp_path / "out")]) == 1

    assert "holds an adapter of PEFT (LORA)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_merged_model_with_its_adapter_beside_it_is_loaded(tmp_path: Path, tiny: Callable[..., Path]) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "merged")
    (tmp_path / "merged" / "adapter_config.json").write_text("{}")

    assert rerank_core.load(str(tmp_path / "merged"), device="cpu").score("a", ["b"]).values


@pytest.fixture
def trained(tmp_path: Path, tiny: Callable[..., Path]) -> Path:
    """A trainer's output folder: checkpoints, and no model beside them."""
    folder = tmp_path / "output"
    for step in (500, 1000, 90):
        shutil.copytree(tiny("bert"), folder / f"checkpoint-{step}")
    (folder / "runs").mkdir()
    return folder


def test_the_folder_of_a_trainer_names_its_newest_checkpoint(trained: Path) -> None:
    newest = trained / "checkpoint-1000"

    assert refused(trained) == f"{trained} holds 3 checkpoints of a trainer, not a model: load the newest, {newest}"
    assert rerank_core.load(str(newest), device="cpu").score("a", ["b"]).values


def test_the_checkpoint_that_the_trainer_measured_best_is_named_too(trained: Path) -> None:
    state = {"best_model_checkpoint": "/elsewhere/output/checkpoint-500"}
    (trained / "checkpoint-1000" / "trainer_state.json").write_text(json.dumps(state))

    assert refused(trained).endswith("checkpoint-1000; the best by the trainer's own measure was checkpoint-500")


def test_a_folder_of_models_names_them(trained: Path) -> None:
    for name in ("500", "1000", "90"):
        (trained / f"checkpoint-{name}").rename(trained / f"model-{name}")

    assert refused(trained) == (
        f"{trained} holds models in its folders (model-1000, model-500, model-90): name one, such as "
        f"{trained / 'model-1000'}"
    )


def test_a_trainers_own_model_above_its_checkpoints_is_loaded(trained: Path, tiny: Callable[..., Path]) -> None:
    shutil.copytree(tiny("bert"), trained, dirs_exist_ok=True)

    assert rerank_core.load(str(trained), device="cpu").score("a", ["b"]).values
