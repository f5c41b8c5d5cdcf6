import asyncio
import threading

import pytest
from rerank_core import (
    AsyncScorer,
    EngineError,
    InputTooLong,
    InvalidRequest,
    Overloaded,
    Scorer,
    StepwiseModel,
    rerank,
)
from rerank_core.models.scoring import distinct_sequences
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_core.types import ScoreOptions


def test_the_document_that_shares_more_words_scores_higher():
    ranked = rerank(OverlapModel(), "giant panda", ["nothing", "the giant panda", "a panda"])

    assert [document.index for document in ranked] == [1, 2, 0]


def test_the_double_is_every_part_of_the_seam():
    double = OverlapModel()

    assert isinstance(double, Scorer)
    assert isinstance(double, AsyncScorer)
    assert isinstance(double, StepwiseModel)


def test_a_failure_that_was_asked_for_happens_once():
    double = OverlapModel()
    double.fail_next = EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        double.score("a", ["a"])
    assert double.score("a", ["a"]).values


def test_the_gate_holds_a_forward_pass_until_it_opens():
    double = OverlapModel()
    double.gate.clear()
    (encoding,) = double.encode("a", ["a"], ScoreOptions())
    said = []
    thread = threading.Thread(target=lambda: said.append(double.forward(distinct_sequences([encoding]))))
    thread.start()

    assert double.started.wait(10)
    assert said == []
    double.gate.set()
    thread.join(10)
    assert len(said) == 1
    assert double.forwards == [1]


@pytest.mark.parametrize("documents", [[], ["a"]])
def test_the_failing_double_always_fails_in_the_same_way(documents):
    double = FailingScorer(Overloaded("no room", retry_after=1))

    with pytest.raises(Overloaded, match="no room"):
        double.score("a", documents)
    with pytest.raises(Overloaded, match="no room"):
        asyncio.run(double.ascore("a", documents))


def test_windows_of_the_double_are_those_of_a_cross_encoder():
    long = "a panda eats bamboo. " * 40
    double = OverlapModel(long_documents="chunk")
    whole = double.score("panda", [long], options=ScoreOptions(raw=True))
    first = double.score("panda", [long], options=ScoreOptions(raw=True, chunk_score="first"))
    capped = double.score("panda", [long], options=ScoreOptions(raw=True, max_document_tokens=70))

    assert first.usage.tokens < capped.usage.tokens < whole.usage.tokens
    assert first.spans[0].start == 0
    assert first.usage.truncated == capped.usage.truncated == 1
    with pytest.raises(InputTooLong, match="raise max_chunks"):
        double.score("panda", [long], options=ScoreOptions(truncate=False, max_chunks=2))


def test_the_words_of_an_instruction_count_as_the_query_s_and_the_model_has_a_default():
    double = OverlapModel(takes_instruction=True, instruction="about bamboo")
    document = "pandas eat bamboo"

    def raw(**options: str) -> float:
        return double.score("pandas", [document], ScoreOptions(raw=True, **options)).values[0]

    assert raw() == raw(instruction="about bamboo") == raw(instruction="that eat")
    assert raw(instruction="") < raw() < raw(instruction="that eat bamboo")


def test_a_model_that_takes_no_instruction_refuses_one_by_the_name_of_the_model():
    with pytest.raises(InvalidRequest, match="overlap takes no instruction: leave it out"):
        OverlapModel().score("a", ["a"], ScoreOptions(instruction="be kind"))

    assert OverlapModel().score("a", ["a"], ScoreOptions(instruction="")) == OverlapModel().score("a", ["a"])
