import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest
import rerank_core
import torch
from rerank_core import InvalidRequest, MissingExtra, ScoreOptions, Scorer, StepwiseModel, loading


def test_a_model_says_what_runs(tiny):
    info = rerank_core.load(str(tiny("xlm-roberta")), device="cpu", max_length=100).info

    assert (info.name, info.revision, info.kind) == (str(tiny("xlm-roberta")), None, "cross-encoder")
    assert (info.engine, info.device, info.dtype, info.max_length) == ("packed", "cpu", "float32", 100)
    assert info.engine_reason == "the fastest that runs xlm-roberta"


def test_both_kinds_satisfy_the_seam(tiny_model):
    for kind in ("cross-encoder", "bi-encoder"):
        model = tiny_model("bert", kind)
        assert model.info.kind == kind
        assert isinstance(model, Scorer)
        assert isinstance(model, StepwiseModel)


def test_the_truncation_of_load_is_the_one_of_its_calls_unless_they_say_another(tiny, tiny_model):
    long_query, document = "panda " * 100, "bamboo " * 100
    only_second = rerank_core.load(str(tiny("bert")), truncation="only_second", device="cpu")
    longest_first = tiny_model("bert")

    by_load = only_second.score(long_query, [document]).values
    by_call = longest_first.score(long_query, [document], options=ScoreOptions(truncation="only_second")).values
    assert by_load == by_call != longest_first.score(long_query, [document]).values
    back = only_second.score(long_query, [document], options=ScoreOptions(truncation="longest_first")).values
    assert back == longest_first.score(long_query, [document]).values


def test_max_length_of_load_is_where_pairs_are_cut(tiny):
    model = rerank_core.load(str(tiny("bert")), max_length=20, device="cpu")

    usage = model.score("panda", ["bamboo", "bamboo " * 50]).usage

    assert (usage.tokens, usage.truncated) == (5 + 20, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "warp"}, "engine='warp' is not known: use auto or one of packed, reference"),
        ({"threads": 0}, "threads is 0: use at least 1"),
        ({"truncation": "middle"}, "truncation is 'middle': use one of longest_first, only_second"),
        ({"device": "tpu"}, "device is 'tpu': use one of"),
        ({"dtype": "float8"}, "dtype is 'float8': use one of"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_with_what_can(tiny, arguments, message):
    with pytest.raises(InvalidRequest, match=message):
        rerank_core.load(str(tiny("bert")), **arguments)


def test_an_engine_may_be_asked_for_by_its_name(tiny):
    info = rerank_core.load(str(tiny("bert")), engine="reference", device="cpu").info

    assert (info.engine, info.engine_reason) == ("reference", "as asked for")


def test_threads_are_torchs_and_only_set_where_asked(tiny):
    before = torch.get_num_threads()
    try:
        rerank_core.load(str(tiny("bert")), device="cpu")
        assert torch.get_num_threads() == before
        rerank_core.load(str(tiny("bert")), device="cpu", threads=before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("library", ["torch", "transformers", "tokenizers", "numpy"])
def test_without_a_library_load_says_what_to_install(monkeypatch, tiny, library):
    real = importlib.util.find_spec
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == library else real(name))

    with pytest.raises(MissingExtra, match=rf"needs {library}: install rerank-core\[torch\]"):
        rerank_core.load(str(tiny("bert")))


def test_the_same_checkpoint_loaded_twice_is_the_same_model(tiny, tiny_model):
    again = rerank_core.load(str(tiny("bert")), device="cpu")

    assert again.score("a panda", ["bamboo"]) == tiny_model("bert").score("a panda", ["bamboo"])


def test_loading_prints_nothing(tiny, capfd):
    rerank_core.load(str(tiny("bert")), device="cpu")

    assert capfd.readouterr() == ("", "")


def test_eight_threads_that_share_a_model_get_the_serial_scores(tiny_model):
    """Different queries, documents and options at once, so that mixed up texts would show."""
    model = tiny_model("xlm-roberta")
    documents = ["the giant panda eats bamboo", "paris is the capital of france", "", "word " * 200]
    calls = [
        (f"panda {number}", documents[number % 4 :], ScoreOptions(raw=True, max_document_tokens=cap))
        for number in range(16)
        for cap in (None, 2, 9)
    ]
    serial = [model.score(query, texts, options=options) for query, texts, options in calls]

    with ThreadPoolExecutor(8) as threads:
        parallel = list(threads.map(lambda call: model.score(call[0], call[1], options=call[2]), calls))

    assert parallel == serial
