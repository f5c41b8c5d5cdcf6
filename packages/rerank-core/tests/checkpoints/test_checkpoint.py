import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import rerank_core
from rerank_core import CheckpointError, InvalidRequest, ScoreOptions
from rerank_core.checkpoints.checkpoint import Checkpoint, read_checkpoint
from rerank_core.checkpoints.sources import Source
from rerank_core.checkpoints.weights import weight_files
from safetensors.torch import load_file, save_file


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    """A tiny cross-encoder to be damaged."""
    return Path(shutil.copytree(tiny("bert"), tmp_path / "model"))


@pytest.fixture
def bi_copy(tiny, tmp_path) -> Path:
    """A tiny bi-encoder to be damaged."""
    return Path(shutil.copytree(tiny("bert", "bi-encoder"), tmp_path / "bi-model"))


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file; None takes a field out."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def read(directory: Path) -> Checkpoint:
    return read_checkpoint(Source("the-model", None, directory))


def refusal(directory: Path, **arguments: Any) -> str:
    """What ``load`` says when it refuses."""
    with pytest.raises(CheckpointError) as caught:
        rerank_core.load(str(directory), device="cpu", **arguments)
    return str(caught.value)


# ---------------------------------------------------------------------------- files


def test_without_a_config_the_file_is_named(copy):
    (copy / "config.json").unlink()

    assert refusal(copy) == f"{copy / 'config.json'} is missing: {copy} does not hold a model"


def test_an_empty_directory_does_not_hold_a_model(tmp_path):
    assert f"{tmp_path / 'config.json'} is missing" in refusal(tmp_path)


def test_without_weights_the_file_is_named(copy):
    (copy / "model.safetensors").unlink()

    assert refusal(copy) == f"{copy / 'model.safetensors'} is missing: the directory holds no weights"


@pytest.mark.parametrize("keep", [0, 4, 2000, -1])
def test_truncated_weights_are_named_with_their_size(copy, keep):
    weights = copy / "model.safetensors"
    content = weights.read_bytes()[:keep]
    weights.write_bytes(content)

    message = refusal(copy)

    assert f"{weights} ({len(content)} bytes) is damaged or not complete" in message
    assert "fetch the model again" in message


def test_weights_that_promise_a_header_without_end_are_damaged(copy):
    (copy / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")

    assert "model.safetensors" in refusal(copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_a_pickle_is_refused_by_name_and_never_opened(copy, name):
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(b"cposix\nsystem\n(S'false'\ntR.")

    message = refusal(copy)

    assert f"{copy / name} is a pickle" in message
    assert "convert it to safetensors" in message


def test_a_pickle_beside_safetensors_is_passed_over(copy):
    (copy / "pytorch_model.bin").write_bytes(b"not even a pickle")

    assert rerank_core.load(str(copy), device="cpu").score("a", ["b"]).values


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "modules.json"])
@pytest.mark.parametrize("content", [b"{", b"7", b"\xff\xfe", b""])
def test_damaged_json_is_named(copy, name, content):
    (copy / name).write_bytes(content)

    assert str(copy / name) in refusal(copy)


def split_weights(directory: Path) -> list[Path]:
    """Deal the weights into two files with an index, as large models come."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, directory / shard, metadata={"format": "pt"})
    weight_map = {key: shard for shard, keys in shards.items() for key in keys}
    edit(directory / "model.safetensors.index.json", metadata={}, weight_map=weight_map)
    return [directory / shard for shard in shards]


def test_weights_in_several_files_are_one_model(copy, tiny_model):
    shards = split_weights(copy)

    assert weight_files(copy) == shards
    ours = rerank_core.load(str(copy), device="cpu").score("a panda", ["bamboo"])
    assert ours.values == tiny_model("bert").score("a panda", ["bamboo"]).values


def test_a_missing_weight_file_of_several_is_named(copy):
    _, second = split_weights(copy)
    second.unlink()

    assert refusal(copy) == f"{second} is missing, model.safetensors.index.json lists it"


def test_a_truncated_weight_file_of_several_is_named(copy):
    _, second = split_weights(copy)
    second.write_bytes(second.read_bytes()[:-1])

    assert f"{second} (" in refusal(copy)


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_a_damaged_index_is_named(copy, content):
    split_weights(copy)
    (copy / "model.safetensors.index.json").write_text(content)

    assert "model.safetensors.index.json" in refusal(copy)


# ---------------------------------------------------------------------------- architecture


@pytest.mark.parametrize("architectures", [["BertModel"], ["BertForMaskedLM"], [], None])
def test_a_model_that_is_no_reranker_is_refused_with_what_it_says_it_is(copy, architectures):
    edit(copy / "config.json", architectures=architectures)

    message = refusal(copy)

    assert str(copy / "config.json") in message
    assert (architectures[0] if architectures else "no architecture") in message
    assert "neither a cross-encoder" in message


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("qwen3", "Qwen3ForSequenceClassification"), ("qwen2", "Qwen2ForCausalLM")],
)
def test_a_language_model_is_refused_with_the_reason(copy, model_type, architecture):
    edit(copy / "config.json", model_type=model_type, architectures=[architecture])

    message = refusal(copy)

    assert architecture in message
    assert "name a recipe with recipe= (qwen3-reranker" in message
    assert str(copy / "config.json") in message


def test_a_model_type_that_transformers_does_not_know_is_named(copy):
    edit(copy / "config.json", model_type="nobody-knows", architectures=["NobodyForSequenceClassification"])

    message = refusal(copy)

    assert str(copy / "config.json") in message
    assert "nobody-knows" in message


def test_weights_without_the_head_are_not_a_trained_reranker(copy):
    tensors = load_file(copy / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    assert len(kept) == len(tensors) - 2
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})

    message = refusal(copy)

    assert f"{copy / 'model.safetensors'} lacks 2 parameters" in message
    assert "classifier.bias, classifier.weight" in message


def test_weights_of_another_shape_are_a_checkpoint_error_that_names_the_config(copy):
    edit(copy / "config.json", hidden_size=64)

    assert str(copy / "config.json") in refusal(copy)


def test_half_precision_weights_are_computed_in_float32(copy, tiny_model):
    tensors = {name: tensor.half() for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    edit(copy / "config.json", dtype="float16")

    model = rerank_core.load(str(copy), device="cpu")

    assert model.info.dtype == "float32"
    (half,) = model.score("a panda", ["bamboo"], ScoreOptions(raw=True)).values
    (full,) = tiny_model("bert").score("a panda", ["bamboo"], ScoreOptions(raw=True)).values
    assert 0 < abs(half - full) < 0.1


# ---------------------------------------------------------------------------- labels


def test_two_labels_are_refused_with_their_count_and_names(tiny):
    message = refusal(tiny("bert", labels=2))

    assert "has 2 labels (LABEL_0, LABEL_1)" in message
    assert "label=" in message


def test_a_label_is_chosen_by_its_number_or_its_name(tiny):
    directory = str(tiny("bert", labels=2))

    def score(label: int | str) -> float:
        return (
            rerank_core.load(directory, label=label, device="cpu")
            .score("panda", ["bamboo"], ScoreOptions(raw=True))
            .values[0]
        )

    assert score(0) == score("LABEL_0") != score(1) == score("LABEL_1")


@pytest.mark.parametrize("label", [2, -1, "relevant"])
def test_a_label_that_is_not_there_is_refused_with_those_that_are(tiny, label):
    with pytest.raises(
        InvalidRequest, match=f"has no label {label!r}: use a number below 2 or one of LABEL_0, LABEL_1"
    ):
        rerank_core.load(str(tiny("bert", labels=2)), label=label)


def test_a_bi_encoder_has_no_labels(tiny):
    with pytest.raises(InvalidRequest, match="is a bi-encoder, which has no labels"):
        rerank_core.load(str(tiny("bert", "bi-encoder")), label=0)


def test_labels_are_in_the_order_of_their_numbers(copy):
    edit(copy / "config.json", id2label={"10": "k", "2": "c", "0": "a"})

    assert read(copy).head.labels == ("a", "c", "k")


# ---------------------------------------------------------------------------- length


def test_the_default_length_is_what_the_checkpoint_reads_up_to_512(copy):
    assert read(copy).max_length(None) == 128
    edit(copy / "config.json", max_position_embeddings=8192)
    edit(copy / "tokenizer_config.json", model_max_length=8192)
    assert read(copy).max_length(None) == 512
    assert read(copy).max_length(8192) == 8192


def test_a_length_beyond_the_checkpoint_is_refused_with_both_numbers(tiny):
    with pytest.raises(InvalidRequest, match=r"max_length=129, .* reads at most 128 tokens"):
        rerank_core.load(str(tiny("bert")), max_length=129)

    assert rerank_core.load(str(tiny("bert")), max_length=128, device="cpu").info.max_length == 128


@pytest.mark.parametrize("length", [7, 0, -1])
def test_a_length_without_room_for_a_pair_is_refused(tiny, length):
    with pytest.raises(InvalidRequest, match=f"max_length={length}: use at least 8"):
        rerank_core.load(str(tiny("bert")), max_length=length)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_robertas_positions_start_behind_the_padding(tiny, tmp_path, family):
    """Of 130 positions 128 can be read; one more would be an index error deep inside the network."""
    directory = Path(shutil.copytree(tiny(family), tmp_path / "model"))
    edit(directory / "tokenizer_config.json", model_max_length=int(1e30))

    with pytest.raises(InvalidRequest, match=r"max_length=129, .* reads at most 128 tokens"):
        rerank_core.load(str(directory), max_length=129)
    model = rerank_core.load(str(directory), max_length=128, device="cpu")
    assert model.score("panda", ["panda " * 500]).usage.tokens == 128


def test_a_padding_id_that_is_null_counts_as_robertas_own(tiny, tmp_path):
    directory = Path(shutil.copytree(tiny("roberta"), tmp_path / "model"))
    config = json.loads((directory / "config.json").read_text()) | {"pad_token_id": None}
    (directory / "config.json").write_text(json.dumps(config))

    assert read(directory).position_limit == 128


def test_the_tokenizers_own_limit_counts_and_no_limit_does_not(copy):
    edit(copy / "tokenizer_config.json", model_max_length=100)
    assert read(copy).position_limit == 100
    edit(copy / "tokenizer_config.json", model_max_length=1e30)
    assert read(copy).position_limit == 128
    edit(copy / "config.json", max_position_embeddings=None)
    assert read(copy).position_limit is None
    assert read(copy).max_length(None) == 512


def test_a_bi_encoder_reads_what_it_asks_for_and_no_more_than_it_can(bi_copy):
    assert read(bi_copy).max_length(None) == 64
    assert read(bi_copy).max_length(128) == 128
    edit(bi_copy / "sentence_bert_config.json", max_seq_length=4096)
    assert read(bi_copy).max_length(None) == 128
    (bi_copy / "sentence_bert_config.json").unlink()
    assert read(bi_copy).max_length(None) == 128


# ---------------------------------------------------------------------------- what else a configuration says


def test_token_types_are_read_where_network_and_tokenizer_have_them(tiny, copy):
    assert read(copy).has_type_ids
    assert not read(tiny("xlm-roberta")).has_type_ids
    assert not read(tiny("distilbert")).has_type_ids
    edit(copy / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    assert not read(copy).has_type_ids


@pytest.mark.parametrize(
    ("changes", "activation"),
    [
        ({}, None),
        ({"sbert_ce_default_activation_function": "torch.nn.Identity"}, "torch.nn.Identity"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.Sigmoid"}}, "torch.nn.Sigmoid"),
    ],
)  # fmt: skip
def test_the_checkpoints_own_activation_is_reported_and_never_applied(copy, tiny_model, changes, activation):
    edit(copy / "config.json", **changes)

    model = rerank_core.load(str(copy), device="cpu")

    assert model.info.activation == activation
    assert model.score("a panda", ["bamboo"]).values == tiny_model("bert").score("a panda", ["bamboo"]).values


# ---------------------------------------------------------------------------- sentence-transformers layouts


def test_a_modules_file_with_a_classifier_is_a_cross_encoder(copy):
    (copy / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}]))

    assert read(copy).head.kind == "cross-encoder"


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
    ],
)
def test_the_pooling_is_read_from_both_layouts(bi_copy, config, pooling):
    (bi_copy / "1_Pooling" / "config.json").write_text(json.dumps(config))

    assert read(bi_copy).head.chain.pooling == pooling


@pytest.mark.parametrize(
    ("config", "asks"),
    [
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len pooling"),
        ({"pooling_mode": "weightedmean"}, "weightedmean pooling"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean and cls pooling"),
        ({"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
        ({}, "no pooling"),
    ],
)
def test_another_pooling_is_refused_by_its_file_and_name(bi_copy, config, asks):
    (bi_copy / "1_Pooling" / "config.json").write_text(json.dumps(config))

    message = refusal(bi_copy)

    assert str(bi_copy / "1_Pooling" / "config.json") in message
    assert asks in message


@pytest.mark.parametrize(
    "names",
    [["Transformer"], ["Transformer", "WordWeights", "Pooling"], ["StaticEmbedding"], ["Pooling", "Transformer"]],
)
def test_modules_that_are_not_ours_to_run_are_refused_by_name(bi_copy, names):
    modules = [{"path": "", "type": f"sentence_transformers.models.{name}"} for name in names]
    (bi_copy / "modules.json").write_text(json.dumps(modules))

    assert f"{bi_copy / 'modules.json'} lists {', '.join(names)}" in refusal(bi_copy)


def test_a_transformer_in_a_folder_of_its_own_is_found(bi_copy, tiny_model):
    """The oldest layout."""
    folder = bi_copy / "0_Transformer"
    folder.mkdir()
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
    ]:
        (bi_copy / name).rename(folder / name)
    modules = json.loads((bi_copy / "modules.json").read_text())
    modules[0]["path"] = folder.name
    (bi_copy / "modules.json").write_text(json.dumps(modules))

    model = rerank_core.load(str(bi_copy), device="cpu")

    ours = model.score("a panda", ["bamboo"]).values
    assert ours == tiny_model("bert", "bi-encoder").score("a panda", ["bamboo"]).values


@pytest.mark.parametrize(
    ("config", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "q: ", "document": "d: "}}, "q: ", "d: "),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, "q: ", "p: "),
        ({"prompts": {"query": "q: ", "other": "o: "}, "default_prompt_name": "other"}, "q: ", "o: "),
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, "", ""),
        ({"prompts": None}, "", ""),
    ],
)
def test_prompts_are_chosen_as_sentence_transformers_does(bi_copy, config, query, document):
    edit(bi_copy / "config_sentence_transformers.json", **config)

    assert read(bi_copy).head.prompts == {"query": query, "document": document}


def test_lower_case_that_the_checkpoint_asks_for_is_done(bi_copy):
    edit(bi_copy / "sentence_bert_config.json", do_lower_case=True)

    assert read(bi_copy).lowercase
    model = rerank_core.load(str(bi_copy), device="cpu")
    assert model.score("a panda", ["BAMBOO"]).values == model.score("a panda", ["bamboo"]).values


def test_code_that_a_checkpoint_brings_is_not_run_unasked(copy, tmp_path):
    (copy / "theirs.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\n")
    edit(copy / "config.json", model_type="theirs", auto_map={"AutoConfig": "theirs.Config"})

    message = refusal(copy)

    assert str(copy / "config.json") in message
    assert not (tmp_path / "it-ran").exists()


# ---------------------------------------------------------------------------- values of another kind


@pytest.mark.parametrize(
    "changes",
    [
        {"type_vocab_size": "two"},
        {"id2label": ["a", "b"]},
        {"id2label": {"x": "a"}},
        {"max_position_embeddings": "512"},
        {"architectures": 5},
        {"architectures": "BertForSequenceClassification"},
        {"num_labels": "one", "id2label": None},
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_that_names_the_directory(copy, changes):
    edit(copy / "config.json", **changes)

    assert str(copy) in refusal(copy)


@pytest.mark.parametrize("changes", [{"hidden_size": "x"}, {"num_attention_heads": 0}, {"vocab_size": None}])
def test_a_size_of_the_wrong_kind_is_no_crash(copy, changes):
    edit(copy / "config.json", **changes)

    assert str(copy) in refusal(copy)
