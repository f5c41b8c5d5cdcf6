"""The tokenizer of a checkpoint against transformers' own, over what the files beside tokenizer.json may say."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rerank_core import CheckpointError
from rerank_core.checkpoints.tokenizer_files import read_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

TEXTS = [
    "",
    "Hello WORLD Été ÀÉÎÕÜ",
    "漢字かな bear PANDA",
    "[CLS] [SEP] <mask> [MASK] <new>tok <new> x <NEW> q",
    "naïve ﬁne Ⅷ e\u0301",
    "a  b\t<one>  c <two>d <two>",
    "İstanbul ẞ",
]
CLASSES = ["BertTokenizer", "BertTokenizerFast", "TokenizersBackend", "DistilBertTokenizer", "ElectraTokenizer"]


def token(content: str, **flags: bool) -> dict[str, Any]:
    names = ("lstrip", "rstrip", "normalized", "single_word", "special")
    return {"content": content, **dict.fromkeys(names, False), **flags}


NEW = {
    "30522": token("<new>", normalized=True),
    "30523": token("<one>", lstrip=True, rstrip=True),
    "30524": token("<two>", single_word=True, special=True),
}


@pytest.fixture
def trained(shared, tmp_path) -> Path:
    """A trained checkpoint's tokenizer files, to be changed; its tokenizer_config.json is empty."""
    for name in ("tokenizer.json", "vocab.txt"):
        shutil.copyfile(shared("minilm-ce") / name, tmp_path / name)
    write(tmp_path / "config.json", {"model_type": "bert", "architectures": ["BertForSequenceClassification"]})
    write(tmp_path / "tokenizer_config.json", {})
    return tmp_path


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def ids(directory: Path, texts: list[str] = TEXTS) -> list[list[int]]:
    tokenizer = read_tokenizer(directory).tokenizer
    return [tokenizer.encode(text, "x").ids for text in texts]


def golden(directory: Path, texts: list[str] = TEXTS) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return [tokenizer(text, "x")["input_ids"] for text in texts]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"strip_accents": True, "tokenize_chinese_chars": False},
        {"added_tokens_decoder": NEW},
        {"added_tokens_decoder": dict(reversed(NEW.items()))},
        {"additional_special_tokens": ["<new>", "<one>"]},
        {"extra_special_tokens": ["<new>", "bear"]},
        {"extra_special_tokens": {"first_token": "<new>"}, "second_token": "<one>"},
        {"pad_token": "bear"},
        {"mask_token": {"__type": "AddedToken", **token("<mask>", lstrip=True)}},
        {"split_special_tokens": True},
        {"padding_side": "left", "clean_up_tokenization_spaces": True, "add_bos_token": True, "sp_model_kwargs": {}},
    ],
    ids=lambda fields: ",".join(fields) or "nothing",
)
def test_fields_of_the_configuration_give_the_ids_of_transformers(trained, name, fields):
    write(trained / "tokenizer_config.json", {"tokenizer_class": name, **fields})

    assert ids(trained) == golden(trained)


@pytest.mark.parametrize("name", ["BertTokenizer", "TokenizersBackend"])
@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens.json": {"<one>": 30523, "<new>": 30522}},
        {"special_tokens_map.json": {"mask_token": token("<mask>", lstrip=True), "unk_token": "[UNK]"}},
        {"special_tokens_map.json": {"additional_special_tokens": ["<new>"]}, "added_tokens.json": {"<new>": 30522}},
    ],
    ids=lambda files: ",".join(files),
)
def test_tokens_that_only_older_files_name_are_added_as_transformers_adds_them(trained, name, files):
    write(trained / "tokenizer_config.json", {"tokenizer_class": name})
    for file, content in files.items():
        write(trained / file, content)
    plain = [list(row) for row in ids(trained)]

    assert plain == golden(trained)
    for file in files:
        (trained / file).unlink()
    assert plain != ids(trained), "the files change nothing, so this proves nothing"


def test_older_files_are_not_read_where_the_configuration_lists_the_added_tokens(trained):
    write(trained / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": NEW})
    before = ids(trained)
    write(trained / "added_tokens.json", {"bear": 30525, "hello": 30526})

    assert ids(trained) == before == golden(trained)


@pytest.mark.parametrize("model_type", ["bert", "electra", "distilbert", "roberta", "modernbert", "xlnet"])
@pytest.mark.parametrize("name", [None, "BertTokenizer", "PreTrainedTokenizerFast"])
def test_the_class_is_the_one_that_transformers_chooses(trained, model_type, name):
    if name is None and model_type in ("roberta", "xlnet"):
        pytest.skip("transformers would make another kind of tokenizer of this vocabulary")
    write(trained / "config.json", {"model_type": model_type, "architectures": ["SomeForSequenceClassification"]})
    write(trained / "tokenizer_config.json", {"do_lower_case": False, **({"tokenizer_class": name} if name else {})})

    assert ids(trained) == golden(trained)


def bpe(directory: Path, *, prefix: bool) -> Path:
    """A byte-level tokenizer, as RoBERTa's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate([*names, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix)
    tokenizer.add_special_tokens(names)
    tokenizer.save(str(directory / "tokenizer.json"))
    write(directory / "config.json", {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]})
    return directory


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize("fields", [{}, {"add_prefix_space": True}, {"add_prefix_space": False}])
@pytest.mark.parametrize("name", ["RobertaTokenizer", "TokenizersBackend"])
def test_a_prefix_space_is_the_configurations(tmp_path, in_file, fields, name):
    bpe(tmp_path, prefix=in_file)
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": name, **fields})

    assert ids(tmp_path) == golden(tmp_path)


def test_a_padding_token_that_only_the_configuration_names_is_a_token_of_its_own_in_texts(tmp_path):
    """A checkpoint that pads with the plus sign reads "2 + 2" with the plus apart from the space before it."""
    vocabulary = {name: index for index, name in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "\u0120+"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("\u0120", "+")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "config.json", {"model_type": "modernbert"})
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "TokenizersBackend", "pad_token": "+"})
    texts = ["2 + 2", "+", "a+b", "a +"]

    found = ids(tmp_path, texts)

    assert found == golden(tmp_path, texts)
    assert vocabulary["\u0120+"] in tokenizer.encode("2 + 2").ids
    assert vocabulary["\u0120+"] not in found[0]


def test_switches_inside_a_sequence_of_normalisers_are_set_too(trained):
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), tokenizer.normalizer])
    tokenizer.save(str(trained / "tokenizer.json"))
    write(trained / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})

    found = read_tokenizer(trained).tokenizer

    assert found.normalizer.normalize_str("ﬁ A") == "fi A"


@pytest.mark.parametrize(
    ("normalizer", "name", "fields"),
    [
        (normalizers.NFC(), "AlbertTokenizer", {"do_lower_case": True}),
        (normalizers.Lowercase(), "AlbertTokenizer", {"do_lower_case": False}),
        (normalizers.StripAccents(), "AlbertTokenizer", {"keep_accents": True}),
        (normalizers.Lowercase(), "BertTokenizer", {"strip_accents": True}),
        (normalizers.Lowercase(), "BertTokenizer", {"tokenize_chinese_chars": True}),
    ],
)
def test_a_field_that_the_files_normaliser_contradicts_is_refused_by_name(trained, normalizer, name, fields):
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizer])
    tokenizer.save(str(trained / "tokenizer.json"))
    write(trained / "tokenizer_config.json", {"tokenizer_class": name, **fields})

    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json: {next(iter(fields))} is") as caught:
        read_tokenizer(trained)

    assert "tokenizer.json" in str(caught.value)


@pytest.mark.parametrize("part", ["normalizer", "post_processor", "pre_tokenizer"])
def test_a_part_that_the_file_lacks_is_the_one_of_its_class(trained, part):
    content = json.loads((trained / "tokenizer.json").read_text())
    write(trained / "tokenizer.json", content | {part: None})
    write(trained / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})

    assert ids(trained) == golden(trained)


@pytest.mark.parametrize(
    ("in_config", "in_file", "side"),
    [
        ({}, None, "right"),
        ({"truncation_side": "left"}, None, "left"),
        ({}, "left", "left"),
        ({"truncation_side": "right"}, "left", "right"),
    ],
)
def test_the_truncation_side_is_the_one_of_transformers(trained, in_config, in_file, side):
    if in_file:
        tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
        tokenizer.enable_truncation(512, direction=in_file)
        tokenizer.save(str(trained / "tokenizer.json"))
    write(trained / "tokenizer_config.json", in_config)

    assert read_tokenizer(trained).truncation_side == AutoTokenizer.from_pretrained(trained).truncation_side == side


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"truncation_side": "up"}, "truncation_side is 'up'"),
        ({"tokenizer_class": "BertTokenizer", "do_lower_case": "yes"}, "do_lower_case is 'yes'"),
        ({"tokenizer_class": "BertTokenizer", "strip_accents": 1}, "strip_accents is 1"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder is not an object"),
        ({"added_tokens_decoder": {"x": token("<new>")}}, "added_tokens_decoder is not an object"),
        ({"added_tokens_decoder": {"30522": {"content": 5}}}, "a token without content"),
        ({"added_tokens_decoder": {"30522": token("<new>") | {"lstrip": "no"}}}, "a flag that is not true or false"),
        ({"additional_special_tokens": 5}, "is not a list of tokens"),
        ({"additional_special_tokens": [5]}, "is not a list of tokens"),
        ({"cls_token": 5}, "cls_token is 5, not a token"),
        ({"fast_tokenizer_files": ["tokenizer.json", "tokenizer.5.0.0.json"]}, "fast_tokenizer_files"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer, a program of transformers"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_file_and_name(trained, fields, says):
    write(trained / "tokenizer_config.json", fields)

    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json") as caught:
        read_tokenizer(trained)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", "[" * 200_000, '{"model": {"type": "WordPiece", "vocab": {}}}', '{"version": "1.0"}'],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_its_name(trained, content):
    (trained / "tokenizer.json").write_text(content)

    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        read_tokenizer(trained)


def test_a_vocabulary_without_the_unknown_token_is_refused_at_load(trained):
    content = json.loads((trained / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "[NOBODY]"
    write(trained / "tokenizer.json", content)

    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer that can be read"):
        read_tokenizer(trained)
