"""Every field of a family's configuration is read, or is known to change no score: so that none is passed over."""

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rerank_core
from rerank_core import ScoreOptions
from rerank_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.checkpoints.sources import locate
from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS
from rerank_core.engines.packed.decoder_config import read_decoder_config
from rerank_core.engines.packed.encoder_config import read_encoder_config
from rerank_core.engines.packed.weights import Weights
from rerank_core.testing.checkpoints import edit_json
from rerank_core.testing.language_models import write_tiny_language_model
from transformers import CONFIG_MAPPING

FAMILIES = sorted(name for name in ARCHITECTURES if name in CONFIG_MAPPING)
DOCUMENTS = ["bamboo", "a giant panda lives in china", ""]

# Read with the checkpoint, for every engine.
OF_THE_CHECKPOINT = {"architectures", "dtype", "id2label", "label2id", "num_labels", "pad_token_id", "type_vocab_size"}

# Other values than the usual ones, which change no score.
WITHOUT_EFFECT: dict[str, Any] = {
    # in training, and in other heads
    "attention_dropout": 0.5,
    "attention_probs_dropout_prob": 0.5,
    "classifier_dropout": 0.5,
    "decoder_bias": False,
    "dropout": 0.5,
    "embedding_dropout": 0.5,
    "hidden_dropout_prob": 0.5,
    "initializer_cutoff_factor": 9.0,
    "initializer_range": 0.5,
    "legacy": False,
    "mlp_dropout": 0.5,
    "pooler_dropout": 0.5,
    "problem_type": "regression",
    "qa_dropout": 0.5,
    "seq_classif_dropout": 0.5,
    "sinusoidal_pos_embds": True,
    "sparse_pred_ignore_index": 3,
    "sparse_prediction": True,
    "summary_activation": "tanh",
    "summary_last_dropout": 0.5,
    "summary_type": "mean",
    "summary_use_proj": False,
    "tie_word_embeddings": False,
    # how it is computed, and what else is given back
    "chunk_size_feed_forward": 3,
    "deterministic_flash_attn": True,
    "output_attentions": True,
    "output_hidden_states": True,
    "return_dict": False,
    "use_cache": False,
    # of the tokenizer, and of what writes text
    "bos_token_id": 7,
    "cls_token_id": 7,
    "eos_token_id": 7,
    "is_encoder_decoder": True,
    "sep_token_id": 7,
    "transformers_version": "4.0.0",
}


class Recorded(dict[str, Any]):
    """A configuration that keeps the names of the fields that were asked for."""

    def __init__(self, content: Any) -> None:
        super().__init__(content)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def fields_of(family: str) -> set[str]:
    return set(inspect.signature(CONFIG_MAPPING[family]).parameters)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_read_or_known_to_change_no_score(tiny, family):
    checkpoint = read_checkpoint(locate(str(tiny(family))))
    config = Recorded(checkpoint.config)

    read_encoder_config(replace(checkpoint, config=config), Weights(checkpoint))

    assert config.read, "it has to be the configuration that is read"
    assert fields_of(family) - config.read - OF_THE_CHECKPOINT - set(WITHOUT_EFFECT) == set()
    assert config.read & set(WITHOUT_EFFECT) == set()


@pytest.mark.parametrize("family", [name for name in DECODERS if name in CONFIG_MAPPING])
def test_every_field_of_a_decoder_is_read_or_known_to_change_no_score(family, tmp_path):
    write_tiny_language_model(tmp_path, family)
    windows = {"use_sliding_window": True, "sliding_window": 4, "layer_types": None} if "qwen" in family else {}
    config = Recorded(json.loads((tmp_path / "config.json").read_text()) | windows)
    checkpoint = Checkpoint(
        name=family, revision=None, root=tmp_path, directory=tmp_path, config=config, head=TokenLogits(true_id=5)
    )

    read_decoder_config(checkpoint, Weights(checkpoint))

    not_in_arithmetic = set(WITHOUT_EFFECT) - {"tie_word_embeddings"} | {"pretraining_tp"}  # the layout of a product
    assert fields_of(family) - config.read - OF_THE_CHECKPOINT - not_in_arithmetic == set()
    assert config.read & not_in_arithmetic == set()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_fields_without_an_effect_change_no_score(tiny: Callable[..., Path], tmp_path, family, engine):
    directory = Path(shutil.copytree(tiny(family), tmp_path / "copy"))
    fields = {name: value for name, value in WITHOUT_EFFECT.items() if name in fields_of(family)}
    edit_json(directory / "config.json", **fields)

    before, after = (
        rerank_core.load(str(path), device="cpu", engine=engine).score("a panda", DOCUMENTS, ScoreOptions(raw=True))
        for path in (tiny(family), directory)
    )

    assert len(fields) > 10
    assert after.values == pytest.approx(before.values, abs=1e-6)
