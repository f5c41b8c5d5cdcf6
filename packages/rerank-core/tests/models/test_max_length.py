"""A request may have less read at once than the model can: ``ScoreOptions.max_length``."""

from collections.abc import Callable
from functools import cache

import pytest
import rerank_core
from rerank_core import InputTooLong, InvalidRequest, ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.doubles import OverlapModel

QUERY = "what does the giant panda eat where it lives in the mountains of China?"
DOCUMENTS = ["bamboo", "The giant panda eats bamboo. " * 12, "", "Paris is a city in France, and Lyon is another one."]


@pytest.fixture(scope="module", params=["xlm-roberta", "bert", "lite"])
def load(request, tiny) -> Callable[..., LocalModel]:
    """Loads a model with a length; each once."""
    name = "lite" if request.param == "lite" else str(tiny(request.param))
    return cache(lambda max_length=None: rerank_core.load(name, max_length=max_length))


@pytest.fixture
def loaded(load) -> LocalModel:
    return load()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"raw": True},
        {"truncation_side": "left"},
        {"long_documents": "chunk", "overlap_tokens": 2},
        {"max_document_tokens": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [8, 17, 40])
def test_it_gives_the_scores_of_a_model_that_was_loaded_with_that_length(load, options, length):
    asked = load().score(QUERY, DOCUMENTS, options=ScoreOptions(max_length=length, **options))

    assert asked == load(length).score(QUERY, DOCUMENTS, options=ScoreOptions(**options))


def test_it_is_what_is_read_and_counted(loaded):
    short = loaded.score(QUERY, DOCUMENTS, options=ScoreOptions(max_length=17)).usage
    whole = loaded.score(QUERY, DOCUMENTS).usage

    assert short.tokens < whole.tokens
    assert short.truncated > whole.truncated


def test_what_the_model_reads_itself_changes_nothing(loaded):
    options = ScoreOptions(max_length=loaded.info.max_length)
    assert loaded.score(QUERY, DOCUMENTS, options=options) == loaded.score(QUERY, DOCUMENTS)


def test_more_than_the_model_reads_is_refused_with_both_numbers(loaded):
    limit = loaded.info.max_length

    for options in (ScoreOptions(max_length=limit + 1), ScoreOptions(max_length=limit + 1, long_documents="chunk")):
        with pytest.raises(InvalidRequest, match=rf"{limit + 1} tokens are asked for at once, the model reads {limit}"):
            loaded.score(QUERY, DOCUMENTS, options=options)


@pytest.mark.parametrize("long_documents", ["truncate", "chunk"])
def test_too_few_for_text_beside_the_special_tokens_are_refused(loaded, long_documents):
    for length in range(1, 6):
        options = ScoreOptions(max_length=length, long_documents=long_documents)
        with pytest.raises(
            InvalidRequest, match=rf"{length} tokens are asked for at once, of which \d are special"
        ) as e:
            loaded.score(QUERY, DOCUMENTS, options=options)
        assert e.value.option == "max_length"


def test_without_truncation_a_pair_that_is_longer_than_asked_for_is_refused(loaded):
    with pytest.raises(InputTooLong, match="the model reads 40"):
        loaded.score(QUERY, DOCUMENTS, options=ScoreOptions(max_length=40, truncate=False))
    assert loaded.score("panda", ["bamboo"], options=ScoreOptions(max_length=40, truncate=False)).usage.truncated == 0


@pytest.mark.parametrize("length", [0, -1])
def test_no_length_at_all_is_refused(length):
    with pytest.raises(InvalidRequest, match=f"max_length is {length}: use at least 1"):
        ScoreOptions(max_length=length)


def test_the_test_double_does_the_same():
    long, short = OverlapModel(max_length=64), OverlapModel(max_length=9)

    for options in ({}, {"long_documents": "chunk"}):
        asked = long.score(QUERY, DOCUMENTS[:2], options=ScoreOptions(max_length=9, **options))
        assert asked == short.score(QUERY, DOCUMENTS[:2], options=ScoreOptions(**options))
    for length, wrong in ((65, "the model reads 64"), (4, "of which 1 are special tokens")):
        with pytest.raises(InvalidRequest, match=f"{length} tokens are asked for at once, {wrong}"):
            long.score(QUERY, DOCUMENTS, options=ScoreOptions(max_length=length))
