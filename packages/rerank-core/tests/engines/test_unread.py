"""What a checkpoint has and transformers passes over: the reference engine refuses it, if it changes the scores."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, ScoreOptions
from rerank_core.engines.unread import unread_fields, unread_parameters
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import edit_json
from safetensors.torch import load_file, save_file

DOCUMENTS = ["bamboo", "a giant panda lives in china", ""]


@pytest.fixture
def copy(tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a tiny checkpoint, with other fields and more parameters."""

    def make(
        family: str = "bert", kind: str = "cross-encoder", *, parameters: tuple[str, ...] = (), **fields: Any
    ) -> Path:
        directory = Path(shutil.copytree(tiny(family, kind), tmp_path / "copy"))
        edit_json(directory / "config.json", **fields)
        path = directory / "model.safetensors"
        tensors = load_file(path) | {name: torch.ones(4) for name in parameters}
        save_file(tensors, path, metadata={"format": "pt"})
        return directory

    return make


def load(directory: Path, engine: str = "reference") -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", engine=engine)


def scores(directory: Path, engine: str = "reference") -> tuple[float, ...]:
    return load(directory, engine).score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values


@pytest.mark.parametrize("family", ["bert", "albert", "electra", "xlm-roberta", "xlm-roberta-xl", "mpnet"])
@pytest.mark.parametrize("positions", ["relative_key", "relative_key_query", "alibi"])
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_positions_that_transformers_no_longer_computes_are_refused_by_name(copy, family, positions, engine):
    directory = copy(family, position_embedding_type=positions)

    with pytest.raises(
        CheckpointError, match=f"config.json has position_embedding_type '{positions}', which .*does not"
    ):
        load(directory, engine)


@pytest.mark.parametrize(
    ("family", "positions"), [("albert", "absolute"), ("albert", None), ("modernbert", "sans_pos")]
)
def test_positions_that_transformers_does_compute_are_not_refused(copy, tiny, family, positions):
    assert scores(copy(family, position_embedding_type=positions)) == scores(tiny(family))


def test_a_field_that_the_network_does_read_is_not_refused():
    """ESM's rotary positions, say; the same of a network that has no such field are."""
    config = {"position_embedding_type": "rotary"}

    assert list(unread_fields(config, {"position_embedding_type"})) == []
    assert list(unread_fields(config, {"hidden_size"})) == ["position_embedding_type 'rotary'"]


@pytest.mark.parametrize("engine", ["reference", "packed"])
def test_pruned_heads_are_refused_by_name(copy, engine):
    with pytest.raises(CheckpointError, match="pruned_heads"):
        load(copy(pruned_heads={"0": [1]}), engine)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("cross-encoder", "bert.encoder.layer.1.attention.self.distance_embedding.weight"),
        ("cross-encoder", "bert.encoder.layer.0.attention.self.query.lora_A"),
        ("bi-encoder", "encoder.layer.1.output.adapter.bias"),
        ("bi-encoder", "bert.encoder.layer.1.output.adapter.bias"),
    ],
)
def test_a_parameter_of_a_layer_that_is_not_computed_is_refused_by_name(copy, kind, name):
    with pytest.raises(CheckpointError, match=rf"parameters of its layers \({name}\), which .*does not read"):
        load(copy("bert", kind, parameters=(name,)))


@pytest.mark.parametrize(
    "name", ["cls.predictions.bias", "bert.encoder.layer.2.output.dense.bias", "bert.embeddings.position_ids"]
)
def test_other_heads_layers_that_are_left_out_and_buffers_are_not_refused(copy, tiny, name):
    # Weights that lie at other places of a file are added up in another order by MKL, on some processors.
    assert scores(copy(parameters=(name,))) == pytest.approx(scores(tiny("bert")), abs=1e-6)


def test_a_buffer_that_an_older_file_has_in_a_layer_is_not_missed():
    modules, buffers = ["encoder", "encoder.layers", "encoder.layers.0"], ["encoder.layers.0.rotary.inv_freq"]
    files = ["model.encoder.layers.0.rotary.inv_freq", "model.encoder.layers.0.rotary.scale"]

    assert unread_parameters(files, modules, buffers) == ["model.encoder.layers.0.rotary.scale"]


@pytest.mark.parametrize("family", ["bert", "albert"])
@pytest.mark.parametrize(
    "fields", [{"return_dict": False}, {"chunk_size_feed_forward": 7}, {"use_cache": True}, {"output_attentions": True}]
)
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_a_field_that_says_how_to_compute_changes_no_score(copy, tiny, family, fields, engine):
    wanted = scores(tiny(family), engine)

    assert scores(copy(family, **fields), engine) == pytest.approx(wanted, abs=1e-6)
