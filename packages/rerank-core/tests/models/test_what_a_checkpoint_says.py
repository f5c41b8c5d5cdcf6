"""Checkpoints that say of themselves how they are scored, through the front door: ``load`` and ``score``."""

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import CheckpointError, Pair, ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import WORDS, edit_json
from transformers import AutoModelForSequenceClassification, AutoTokenizer

DOCUMENTS = ["bamboo", "a giant panda lives in china", "Paris is the capital of france", "", "panda " * 300]


def load(directory: Path, **arguments: Any) -> LocalModel:
    return rerank_core.load(str(directory), device="cpu", **arguments)


def refusal(directory: Path, **arguments: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(directory, **arguments)
    return str(caught.value)


def raw(directory: Path, query: str, documents: list[str], **options: Any) -> list[float]:
    return list(load(directory).score(query, documents, options=ScoreOptions(raw=True, **options)).values)


def golden_rows(directory: Path, query: str, documents: list[str]) -> list[list[float]]:
    """What transformers says, a pair at a time."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    rows = []
    for document in documents:
        inputs = tokenizer([query], [document], truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            rows.append(network(**inputs).logits[0].tolist())
    return rows


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny("bert"), tmp_path / "model"))


# ---------------------------------------------------------------------------- truncation side


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_texts_are_cut_on_the_checkpoints_side_where_a_request_does_not_say(tiny, tmp_path, kind):
    plain = tiny("bert", kind)
    directory = Path(shutil.copytree(plain, tmp_path / "model"))
    edit_json(directory / "tokenizer_config.json", truncation_side="left")
    documents = [" ".join(random.Random(0).choices(WORDS, k=400))]

    left = raw(directory, "a panda", documents)

    assert left == raw(plain, "a panda", documents, truncation_side="left") != raw(plain, "a panda", documents)
    assert raw(directory, "a panda", documents, truncation_side="right") == raw(plain, "a panda", documents)
    if kind == "cross-encoder":
        assert left == pytest.approx([row[0] for row in golden_rows(directory, "a panda", documents)], abs=1e-5)
    assert load(directory).info.truncation_side == "left"


def test_the_side_changes_the_fingerprint(copy):
    before = load(copy).fingerprint()
    edit_json(copy / "tokenizer_config.json", truncation_side="left")

    assert load(copy).fingerprint() != before


def test_windows_too_are_counted_from_the_checkpoints_side(copy, tiny):
    edit_json(copy / "tokenizer_config.json", truncation_side="left")
    documents = [" ".join(random.Random(1).choices(WORDS, k=400))]
    options = {"long_documents": "chunk", "max_document_tokens": 150}

    assert raw(copy, "a panda", documents, **options) == raw(
        tiny("bert"), "a panda", documents, truncation_side="left", **options
    )


# ---------------------------------------------------------------------------- two logits


@pytest.fixture
def two(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny("bert", labels=2), tmp_path / "model"))


@pytest.mark.parametrize("engine", ["packed", "reference"])
@pytest.mark.parametrize(
    ("names", "relevant"),
    [
        (("not_relevant", "relevant"), 1),
        (("relevant", "not_relevant"), 0),
        (("Irrelevant", "Relevant"), 1),
        (("NON-RELEVANT", "RELEVANT"), 1),
        (("no", "yes"), 1),
        (("True", "False"), 0),
    ],
)
def test_two_logits_are_scored_as_the_softmax_of_both(two, names, relevant, engine):
    edit_json(two / "config.json", id2label={"0": names[0], "1": names[1]})
    golden = [torch.tensor(row).softmax(0)[relevant].item() for row in golden_rows(two, "a panda", DOCUMENTS)]

    model = load(two, engine=engine)

    assert list(model.score("a panda", DOCUMENTS).values) == pytest.approx(golden, abs=1e-6)
    assert model.info.raw_score == f"logit of {names[relevant]} minus logit of {names[1 - relevant]}"


def test_a_label_that_is_asked_for_is_that_logit_alone(two):
    edit_json(two / "config.json", id2label={"0": "not_relevant", "1": "relevant"})
    rows = golden_rows(two, "a panda", DOCUMENTS)

    for label in (0, 1):
        values = load(two, label=label).score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values
        assert list(values) == pytest.approx([row[label] for row in rows], abs=1e-5)


@pytest.mark.parametrize(
    "names", [("LABEL_0", "LABEL_1"), ("0", "1"), ("negative", "positive"), ("a", "b"), ("x", "x")]
)
def test_two_labels_that_do_not_say_relevant_are_refused_with_their_names(two, names):
    edit_json(two / "config.json", id2label={"0": names[0], "1": names[1]})

    assert f"has 2 labels ({names[0]}, {names[1]})" in refusal(two)


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("0", "1"), ("negative", "positive")])
def test_names_that_say_nothing_are_taken_of_a_cross_encoder_of_sentence_transformers(two, names):
    edit_json(two / "config.json", id2label={"0": names[0], "1": names[1]})
    edit_json(two / "config_sentence_transformers.json", model_type="CrossEncoder")

    golden = [row[1] - row[0] for row in golden_rows(two, "a panda", DOCUMENTS)]
    assert raw(two, "a panda", DOCUMENTS) == pytest.approx(golden, abs=1e-5)


def test_a_head_that_has_other_outputs_than_labels_is_refused_with_both_numbers(copy):
    edit_json(copy / "config.json", num_labels=1, id2label={"0": "a", "1": "b", "2": "c"})

    assert "num_labels is 1, and id2label names 3 labels" in refusal(copy, label=2)


# ---------------------------------------------------------------------------- token types, small networks


def test_token_types_that_the_table_does_not_have_are_refused_with_both_numbers(tiny, tmp_path):
    directory = Path(shutil.copytree(tiny("roberta"), tmp_path / "model"))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    edit_json(directory / "tokenizer_config.json", model_input_names=names)
    content = json.loads((directory / "tokenizer.json").read_text())
    content["post_processor"]["pair"][-1]["SpecialToken"]["type_id"] = 1
    (directory / "tokenizer.json").write_text(json.dumps(content))

    message = refusal(directory)

    assert "token types up to 1, and the network's table has 1 rows (type_vocab_size in config.json)" in message


@pytest.mark.parametrize("dtype", ["float32", "int8", "float16-weights"])
@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "xlm-roberta-xl", "electra", "modernbert", "deberta-v2"])
def test_a_network_of_one_layer_is_a_network(tiny, tmp_path, family, dtype):
    directory = one_layer(tiny(family), tmp_path / "model")
    golden = [row[0] for row in golden_rows(directory, "a panda", DOCUMENTS)]

    model = load(directory, dtype=dtype)

    assert model.info.engine == "packed"
    tolerance = 1e-5 if dtype == "float32" else 0.1
    assert list(model.score("a panda", DOCUMENTS, ScoreOptions(raw=True)).values) == pytest.approx(
        golden, abs=tolerance
    )


def one_layer(source: Path, target: Path) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    of_layers = {"layer_types": config["layer_types"][:1]} if "layer_types" in config else {}
    edit_json(target / "config.json", num_hidden_layers=1, **of_layers)
    tensors = load_file(target / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if not re.search(r"layers?\.1\.", name)}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_a_tokenizer_that_knows_more_than_the_table_is_refused_with_both_numbers(copy):
    rows = json.loads((copy / "config.json").read_text())["vocab_size"]
    edit_json(
        copy / "tokenizer_config.json",
        added_tokens_decoder={str(rows): {"content": "<new>", "normalized": False, "special": True}},
    )

    for engine in ("packed", "reference"):
        message = refusal(copy, engine=engine)
        assert f"token ids up to {rows}, and the network's table has {rows} rows" in message


def test_an_id_in_the_template_beyond_the_table_is_refused(copy):
    content = json.loads((copy / "tokenizer.json").read_text())
    content["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [9999]
    (copy / "tokenizer.json").write_text(json.dumps(content))

    assert "token ids up to 9999" in refusal(copy)


def test_a_padding_id_beyond_the_table_is_refused(copy):
    edit_json(copy / "config.json", pad_token_id=9999)

    assert "pad_token_id is 9999" in refusal(copy)


# ---------------------------------------------------------------------------- sentence-transformers


def test_a_chain_that_is_no_rerankers_of_ours_is_refused_by_its_modules(copy):
    names = ["base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore"]
    modules = [{"path": f"{index}", "type": f"sentence_transformers.{name}"} for index, name in enumerate(names)]
    modules[0]["path"] = ""
    (copy / "modules.json").write_text(json.dumps(modules))
    edit_json(copy / "config.json", architectures=["BertModel"])
    edit_json(copy / "config_sentence_transformers.json", model_type="CrossEncoder")

    assert "says CrossEncoder, and modules.json lists Transformer, LogitScore" in refusal(copy)


def test_a_module_of_another_origin_is_never_taken_for_the_librarys(copy):
    (copy / "modules.json").write_text(json.dumps([{"path": "", "type": "theirs.Transformer"}]))

    assert "modules.json lists theirs.Transformer, which is code of its own" in refusal(copy)


@pytest.mark.parametrize("path", ["../other", "/etc", "..\\other", "C:\\other"])
def test_a_module_outside_the_directory_is_refused(copy, path):
    (copy / "modules.json").write_text(json.dumps([{"path": path, "type": "sentence_transformers.models.Transformer"}]))

    assert "modules.json names" in refusal(copy)


@pytest.mark.parametrize(
    "path", ["../other.safetensors", "/etc/hostname", "..\\other.safetensors", "a/../../b.safetensors"]
)
def test_a_weight_file_outside_the_directory_is_refused(copy, path):
    (copy / "model.safetensors").rename(copy.parent / "other.safetensors")
    edit_json(copy / "model.safetensors.index.json", weight_map={"a": path})

    assert "which does not lie in the directory" in refusal(copy)


def test_a_snapshot_of_links_into_a_store_of_blobs_is_read(tiny, tmp_path):
    """The cache of the Hugging Face hub is made so."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "c0ffee"
    shutil.copytree(tiny("bert"), blobs)
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)

    assert raw(snapshot, "a panda", DOCUMENTS) == raw(tiny("bert"), "a panda", DOCUMENTS)


# ---------------------------------------------------------------------------- similarities of bi-encoders


def test_a_similarity_that_is_not_known_is_refused_by_name(tiny, tmp_path):
    directory = Path(shutil.copytree(tiny("bert", "bi-encoder"), tmp_path / "model"))
    edit_json(directory / "config_sentence_transformers.json", similarity_fn_name="maxsim")

    assert "config_sentence_transformers.json: similarity_fn_name is 'maxsim'" in refusal(directory)


@pytest.mark.parametrize("value", [0, True, "many"])
def test_a_number_of_dimensions_that_is_none_is_refused(tiny, tmp_path, value):
    directory = Path(shutil.copytree(tiny("bert", "bi-encoder"), tmp_path / "model"))
    edit_json(directory / "config_sentence_transformers.json", truncate_dim=value)

    assert f"config_sentence_transformers.json: truncate_dim is {value!r}, not a number" in refusal(directory)


def test_the_similarity_changes_the_fingerprint(tiny, tmp_path):
    directory = Path(shutil.copytree(tiny("bert", "bi-encoder"), tmp_path / "model"))
    before = load(directory).fingerprint()
    edit_json(directory / "config_sentence_transformers.json", similarity_fn_name="dot")

    assert load(directory).fingerprint() != before


# ---------------------------------------------------------------------------- causal networks


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("xlm", {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "causal": True}),
        ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "attn_type": "uni"}),
    ],
)
def test_an_encoder_that_a_switch_makes_causal_is_refused(tiny, tmp_path, model_type, sizes):
    from transformers import CONFIG_MAPPING

    vocabulary = json.loads((tiny("bert") / "config.json").read_text())["vocab_size"]
    config = CONFIG_MAPPING[model_type](vocab_size=vocabulary, num_labels=1, pad_token_id=0, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("bert") / name, tmp_path / name)

    assert "a language model, which is scored by a prompt" in refusal(tmp_path)


def test_a_decoder_by_its_switch_is_refused(copy):
    edit_json(copy / "config.json", is_decoder=True)

    assert "a language model, which is scored by a prompt" in refusal(copy)


def test_pairs_of_a_checkpoint_that_is_cut_left_are_the_same_by_score_pairs(copy):
    edit_json(copy / "tokenizer_config.json", truncation_side="left")
    model, document = load(copy), " ".join(random.Random(2).choices(WORDS, k=400))

    assert model.score_pairs([Pair("a panda", document)]).values == model.score("a panda", [document]).values
