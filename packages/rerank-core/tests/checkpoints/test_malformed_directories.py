"""Model directories that are wrong: each ends in a score or in a ``RerankError`` that names the file, soon."""

import json
import math
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rerank_core
import torch
from rerank_core import RerankError
from rerank_core.testing.checkpoints import edit_json
from safetensors.torch import load_file, save_file

HUGE = 10**9


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory / "config.json", **changes)


def tokenizer_config(**changes: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory / "tokenizer_config.json", **changes)


def content(name: str, text: str | bytes) -> Callable[[Path], None]:
    data = text.encode() if isinstance(text, str) else text
    return lambda directory: (directory / name).write_bytes(data) and None


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        path = directory / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return spoil


def filled(value: float) -> Callable[[Path], None]:
    return weights(lambda tensors: {name: torch.full_like(tensor, value) for name, tensor in tensors.items()})


def folder(name: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()

    return spoil


def loop(name: str) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(name)

    return spoil


def pipe(name: str) -> Callable[[Path], None]:
    """A file that nobody writes to: to open it would wait for ever."""

    def spoil(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)

    return spoil


def sparse(name: str) -> Callable[[Path], None]:
    """A file of 100 GB that takes no room."""

    def spoil(directory: Path) -> None:
        with (directory / name).open("wb") as file:
            file.truncate(100 * 10**9)

    return spoil


def header(text: bytes) -> Callable[[Path], None]:
    return content("model.safetensors", struct.pack("<Q", len(text)) + text)


def index(weight_map: object) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        (directory / "model.safetensors").unlink()
        edit_json(directory / "model.safetensors.index.json", weight_map=weight_map)

    return spoil


JSON_FILES = [
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "modules.json",
    "config_sentence_transformers.json",
]

# What is wrong → how it is made so, and which word of the message names the place.
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    **{f"{name} nested deep": (content(name, "[" * 200_000), name) for name in JSON_FILES},
    **{f"{name} as objects nested deep": (content(name, '{"a":' * 200_000), name) for name in JSON_FILES},
    **{f"{name} cut": (content(name, '{"a": '), name) for name in JSON_FILES},
    **{f"{name} empty": (content(name, ""), name) for name in JSON_FILES},
    **{f"{name} a number": (content(name, "7"), name) for name in JSON_FILES},
    **{f"{name} not UTF-8": (content(name, b'{"a": "\xff\xfe"}'), name) for name in JSON_FILES},
    **{f"{name} with a byte order mark": (content(name, b"\xef\xbb\xbf{}"), name) for name in JSON_FILES},
    **{f"{name} a folder": (folder(name), name) for name in [*JSON_FILES, "model.safetensors"]},
    **{f"{name} a link to itself": (loop(name), name) for name in [*JSON_FILES, "model.safetensors"]},
    **{f"{name} a pipe": (pipe(name), name) for name in [*JSON_FILES, "model.safetensors"]},
    **{f"{name} of 100 GB": (sparse(name), name) for name in JSON_FILES if name != "tokenizer.json"},
    "weights of 100 GB of nothing": (sparse("model.safetensors"), "model.safetensors"),
    "weights without a parameter": (header(b"{}"), "model.safetensors"),
    "weights with a deep header": (header(b'{"a":' * 10_000), "model.safetensors"),
    "weights with a header of the wrong kind": (header(b"[]"), "model.safetensors"),
    "weights that reach beyond the file": (
        header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
        "model.safetensors",
    ),
    "an index of missing files": (index({"a": "model-1.safetensors"}), "model-1.safetensors"),
    "an index of nothing": (index({}), "index.json"),
    "an index of numbers": (index({"a": 5}), "index.json"),
    "an index that is a list": (index(["a"]), "index.json"),
    "an index of a pickle": (index({"a": "model.bin"}), "index.json"),
    "weights that are not numbers": (filled(math.nan), ""),
    "weights without end": (filled(math.inf), ""),
    "weights without the head": (
        weights(lambda tensors: {name: each for name, each in tensors.items() if "classifier" not in name}),
        "model.safetensors",
    ),
    "weights of another shape": (weights(lambda tensors: {name: each[:1] for name, each in tensors.items()}), ""),
    "no model type": (config(model_type=None), "config.json"),
    "a model type that is a list": (config(model_type=["bert"]), "config.json"),
    "no architecture": (config(architectures=None), "config.json"),
    "an architecture that is a text": (config(architectures="BertForSequenceClassification"), "config.json"),
    "quantised weights": (config(quantization_config={"bits": 4}), "config.json has a quantization_config"),
    "compressed weights": (config(compression_config={"format": "int4"}), "config.json has a compression_config"),
    "quantised weights of one of several networks": (
        config(text_config={"quantization_config": {"bits": 4}}),
        "config.json has a text_config.quantization_config",
    ),
    "a thousand million layers": (config(num_hidden_layers=HUGE), "config.json: num_hidden_layers"),
    "fewer layers than none": (config(num_hidden_layers=-1), "config.json: num_hidden_layers"),
    "layers as a text": (config(num_hidden_layers="2"), "config.json: num_hidden_layers"),
    "layers as a fraction": (config(num_hidden_layers=2.5), "config.json: num_hidden_layers"),
    "a huge hidden size": (config(hidden_size=HUGE), "config.json"),
    "a hidden size as a text": (config(hidden_size="32"), "config.json: hidden_size"),
    "a hidden size below nothing": (config(hidden_size=-32), "config.json: hidden_size"),
    "a hidden size of null": (config(hidden_size=None), ""),
    "heads that do not divide": (config(num_attention_heads=5), ""),
    "no heads": (config(num_attention_heads=0), "config.json: num_attention_heads"),
    "a huge vocabulary": (config(vocab_size=HUGE), "config.json"),
    "a vocabulary below nothing": (config(vocab_size=-1), "config.json: vocab_size"),
    "an empty vocabulary": (config(vocab_size=0), "config.json: vocab_size"),
    "a small vocabulary": (config(vocab_size=10), "vocab_size in config.json"),
    "many positions": (config(max_position_embeddings=HUGE), "config.json"),
    "few positions": (config(max_position_embeddings=4), "config.json"),
    "positions as a text": (config(max_position_embeddings="128"), "config.json: max_position_embeddings"),
    "a huge table of types": (config(type_vocab_size=HUGE), "config.json"),
    "types below nothing": (config(type_vocab_size=-1), "config.json: type_vocab_size"),
    "types as a text": (config(type_vocab_size="2"), "config.json: type_vocab_size"),
    "one row of types for two": (config(type_vocab_size=1), "type_vocab_size"),
    "a padding id beyond the table": (config(pad_token_id=HUGE), "config.json: pad_token_id"),
    "a padding id below nothing": (config(pad_token_id=-1), "config.json: pad_token_id"),
    "an epsilon as a text": (config(layer_norm_eps="small"), ""),
    "an epsilon below nothing": (config(layer_norm_eps=-1e9), ""),
    "an activation that nobody knows": (config(hidden_act="swoosh"), ""),
    "an activation that is a number": (config(hidden_act=5), ""),
    "labels without end": (config(num_labels=HUGE, id2label=None), "config.json: num_labels"),
    "labels below nothing": (config(num_labels=-1, id2label=None), "config.json: num_labels"),
    "labels as a text": (config(num_labels="1", id2label=None), "config.json: num_labels"),
    "more labels than outputs": (config(id2label={"0": "irrelevant", "1": "relevant"}), ""),
    "labels in a list": (config(id2label=["a"]), ""),
    "labels without numbers": (config(id2label={"x": "a"}), ""),
    "a length as a text": (tokenizer_config(model_max_length="128"), ""),
    "a length of 3": (tokenizer_config(model_max_length=3), "tokenizer_config.json"),
    "inputs that are a number": (tokenizer_config(model_input_names=5), ""),
    "a truncation side that is none": (tokenizer_config(truncation_side="middle"), "tokenizer_config.json"),
    "a tokenizer class that is a number": (tokenizer_config(tokenizer_class=5), ""),
    "added tokens that are numbers": (tokenizer_config(added_tokens_decoder={"5": 5}), "tokenizer_config.json"),
}


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny("bert"), tmp_path / "model"))


def outcome(directory: Path, **arguments: Any) -> str:
    """What the directory ends in: ``a score``, or the message of a ``RerankError``; whatever else is raised passes."""
    try:
        (value,) = rerank_core.load(str(directory), device="cpu", **arguments).score("a panda", ["bamboo"]).values
    except RerankError as error:
        return str(error)
    assert math.isfinite(value)
    return "a score"


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_directory_is_refused_by_the_name_of_what_is_wrong(copy, name, engine):
    spoil, place = WRONG[name]
    spoil(copy)

    said = outcome(copy, engine=engine)

    if said == "a score":  # transformers reads the class as its text, and knows none of that name
        assert name in ("a tokenizer class that is a number",)
    else:
        assert str(copy) in said or "the-model" in said
        assert place in said


def test_a_key_that_stands_twice_counts_as_json_counts_it(copy):
    """The last one, for transformers too."""
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace("{", '{"num_hidden_layers": 1000000000,', 1))

    assert outcome(copy) == "a score"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_may_not_be_read_is_named(copy, name):
    (copy / name).chmod(0)

    assert name in outcome(copy)


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("distilbert", "n_layers"),
        ("modernbert", "num_hidden_layers"),
        ("deberta-v2", "num_hidden_layers"),
        ("electra", "num_hidden_layers"),
        ("xlm-roberta", "num_hidden_layers"),
    ],
)
def test_layers_without_end_are_refused_from_the_headers_of_the_weights(tiny, tmp_path, family, field):
    directory = Path(shutil.copytree(tiny(family), tmp_path / "model"))
    edit_json(directory / "config.json", **{field: HUGE})

    assert f"{field} is {HUGE}, and the weights have" in outcome(directory)


# ---------------------------------------------------------------------------- mutations

ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    10**6,
    HUGE,
    10**30,
    0.5,
    -0.5,
    1e300,
    math.nan,
    math.inf,
    "",
    "x",
    "1",
    [],
    {},
    [1],
    {"a": 1},
]


def mutate(value: Any, random_: random.Random) -> Any:
    """One value somewhere in a JSON document, replaced, taken out or written twice."""
    if isinstance(value, dict) and value and random_.random() < 0.9:
        key = random_.choice(sorted(value))
        if random_.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        return value | {key: mutate(value[key], random_)}
    if isinstance(value, list) and value and random_.random() < 0.8:
        place = random_.randrange(len(value))
        return [*value[:place], mutate(value[place], random_), *value[place + random_.randrange(2) :]]
    return random_.choice(ODD)


def spoil_bytes(data: bytes, random_: random.Random) -> bytes:
    """A file cut short, with some bytes changed, or with something behind it."""
    place = random_.randrange(len(data))
    kind = random_.randrange(3)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + random_.randbytes(4) + data[place + 4 :]
    return data + random_.randbytes(20)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "distilbert", "modernbert", "deberta-v2", "bi-encoder"])
@pytest.mark.parametrize("seed", range(int(os.environ.get("RERANK_MUTATIONS", "12"))))
def test_a_mutated_directory_ends_in_an_error_of_ours_or_in_a_finite_score(tiny, tmp_path, family, seed):
    random_ = random.Random(f"{family} {seed}")
    source = tiny("bert", "bi-encoder") if family == "bi-encoder" else tiny(family)
    directory = Path(shutil.copytree(source, tmp_path / "model"))
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in random_.sample(files, random_.choice([1, 1, 2])):
        if path.suffix == ".json" and random_.random() < 0.85:
            path.write_text(json.dumps(mutate(json.loads(path.read_text()), random_)))
        else:
            path.write_bytes(spoil_bytes(path.read_bytes(), random_))

    outcome(directory)
