import dataclasses
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from rerank_core import InvalidRequest, ModelInfo, RankedDocument, ScoreOptions, Scores, Span, Usage, rank
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
        ({"highlight": "words"}, "highlight is 'words': use one of sentences"),
        ({"highlight_top": 0}, "highlight_top is 0: use at least 1"),
        ({"highlight_threshold": float("nan")}, "highlight_threshold is not a number"),
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


SCORES = Scores(values=(0.25, 0.75, 0.5), model="m", usage=Usage(pairs=3, tokens=9, truncated=1))


def test_scores_are_a_sequence_of_floats():
    assert isinstance(SCORES, Sequence)
    assert len(SCORES) == 3
    assert (SCORES[0], SCORES[-1], SCORES[1:]) == (0.25, 0.5, (0.75, 0.5))
    assert list(SCORES) == [0.25, 0.75, 0.5]
    assert list(reversed(SCORES)) == [0.5, 0.75, 0.25]
    assert (0.75 in SCORES, 0.7 in SCORES, SCORES.index(0.5), max(SCORES)) == (True, False, 2, 0.75)
    assert dict(zip("abc", SCORES, strict=True)) == {"a": 0.25, "b": 0.75, "c": 0.5}


def test_numpy_takes_scores_as_numbers():
    assert np.asarray(SCORES).dtype == np.float64
    assert np.asarray(SCORES).tolist() == [0.25, 0.75, 0.5]
    assert np.asarray(SCORES, dtype=np.float32).dtype == np.float32
    assert np.mean(SCORES) == 0.5


def test_pandas_takes_scores_as_a_column_of_numbers():
    pandas = pytest.importorskip("pandas", reason="SKIPPED LOUDLY: pandas is not installed")
    frame = pandas.DataFrame({"text": ["a", "b", "c"]}, index=[7, 8, 9])

    frame["score"] = SCORES

    assert frame["score"].dtype == np.float64
    assert frame.loc[8, "score"] == 0.75
    assert pandas.Series(SCORES).tolist() == list(SCORES)
    assert frame.assign(score=SCORES)["score"].idxmax() == 8
    assert [(best.index, best.document) for best in rank(SCORES, frame["text"])] == [(1, "b"), (2, "c"), (0, "a")]


def test_the_repr_of_scores_is_short_however_many_there_are():
    assert repr(SCORES) == "Scores([0.25, 0.75, 0.5], model='m', tokens=9, truncated=1)"

    many = dataclasses.replace(SCORES, values=(1 / 3,) * 10_000)
    assert repr(many) == "Scores([0.3333, 0.3333, 0.3333, ... 9997 more], model='m', tokens=9, truncated=1)"


def test_a_result_shows_what_is_known_of_it():
    assert repr(RankedDocument(3, 0.5)) == "RankedDocument(index=3, score=0.5)"
    assert repr(RankedDocument(3, 0.5, Span(0, 9), document="panda " * 100)) == (
        f"RankedDocument(index=3, score=0.5, span=Span(start=0, end=9), document={('panda ' * 100)[:57] + '...'!r})"
    )
