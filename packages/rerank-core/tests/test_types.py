import dataclasses
import pickle

import pytest
from rerank_core import InvalidRequest, ModelInfo, ScoreOptions, Scores, Usage
from rerank_core.types import Encoding, TokenSequence


def test_a_sequence_holds_its_numbers_compactly():
    sequence = TokenSequence.of([1, 250_001, 3], [0, 0, 1])

    assert len(sequence) == 3
    assert len(sequence.token_ids) == len(sequence.type_ids) == 12
    assert memoryview(sequence.token_ids).cast("i").tolist() == [1, 250_001, 3]
    assert memoryview(sequence.type_ids).cast("i").tolist() == [0, 0, 1]


def test_equal_sequences_are_one_key():
    assert {TokenSequence.of([1]): 1} == {TokenSequence.of([1]): 1}
    assert TokenSequence.of([1]) != TokenSequence.of([1], [0])


@pytest.mark.parametrize(
    "thing",
    [
        ScoreOptions(),
        TokenSequence.of([1]),
        Encoding((0,), ()),
        Usage(pairs=0, tokens=0, truncated=0),
        Scores(values=(), model="m", usage=Usage(pairs=0, tokens=0, truncated=0)),
        ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=8),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_the_types_are_frozen_and_travel(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, dataclasses.fields(thing)[0].name, None)
    assert pickle.loads(pickle.dumps(thing)) == thing


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"truncation": "longest"}, "truncation is 'longest': use one of longest_first, only_second"),
        ({"truncation_side": "up"}, "truncation_side is 'up': use one of right, left"),
        ({"long_documents": "windows"}, "long_documents is 'windows': use one of truncate"),
        ({"max_query_tokens": 0}, "max_query_tokens is 0: use at least 1"),
        ({"max_document_tokens": -5}, "max_document_tokens is -5: use at least 1"),
        ({"instruction": ["be kind"]}, "the instruction is list, not a string"),
        ({"instruction": "\ud800"}, "the instruction holds a lone surrogate"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_what_can(wrong, message):
    with pytest.raises(InvalidRequest, match=message):
        ScoreOptions(**wrong)


def test_a_bi_encoder_is_called_what_it_is():
    common = {"engine": "e", "device": "cpu", "dtype": "float32", "max_length": 8}

    assert ModelInfo(name="lite", kind="bi-encoder", **common).title == "bi-encoder, lite"
    assert ModelInfo(name="BAAI/bge-reranker-v2-m3", **common).title == "BAAI/bge-reranker-v2-m3"
