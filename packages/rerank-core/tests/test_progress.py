"""The bar of long work: on a terminal and in a notebook, in pairs, and nowhere else."""

import builtins
import io
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rerank_core import MissingExtra, ScoreOptions, Scores, Usage, rerank, score_pairs
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.listwise import listwise_model

DOCUMENTS = ["a panda", "a train", "a panda", "Trains are fast. Pandas are not."]


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def look(monkeypatch) -> Callable[..., io.StringIO]:
    """Puts something in the place of standard error; in the test itself, because pytest puts its own there before."""

    def look(stream: io.StringIO | None = None) -> io.StringIO:
        stream = stream or Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return look


def test_a_bar_counts_the_pairs_of_a_model_in_this_process(look, tiny_model):
    terminal = look()
    model = tiny_model("bert")

    scores = model.score("panda", DOCUMENTS, progress=True)

    assert scores == model.score("panda", DOCUMENTS)
    assert "4/4" in terminal.getvalue()
    assert "pair/s" in terminal.getvalue()


def test_sentences_have_a_bar_of_their_own(look, tiny_model):
    terminal = look()
    tiny_model("bert").score("panda", DOCUMENTS, ScoreOptions(highlight="sentences"), progress=True)

    assert "5/5" in terminal.getvalue()
    assert "sentence/s" in terminal.getvalue()


@pytest.mark.parametrize("road", ["rerank", "score_pairs", "method"])
def test_every_road_passes_it_on(road, look, tiny_model):
    terminal = look()
    model = tiny_model("bert")
    pairs = [("panda", text) for text in DOCUMENTS]
    match road:
        case "rerank":
            rerank(model, "panda", DOCUMENTS, progress=True)
        case "score_pairs":
            score_pairs(model, pairs, progress=True)
        case _:
            model.score_pairs(pairs, progress=True)

    assert "4/4" in terminal.getvalue()


@pytest.mark.parametrize("scorer", [OverlapModel(), listwise_model()], ids=["a scorer of queries", "listwise"])
def test_pairs_that_are_scored_query_by_query_are_counted_by_query(scorer, look):
    terminal = look()
    score_pairs(scorer, [("panda", "a"), ("train", "b"), ("panda", "c")], progress=True)

    assert "3/3" in terminal.getvalue()


def test_nothing_is_shown_unasked_and_nothing_where_no_person_looks(look, tiny_model):
    terminal = look()
    model = tiny_model("bert")
    model.score("panda", DOCUMENTS)
    assert terminal.getvalue() == ""

    file = look(io.StringIO())
    model.score("panda", DOCUMENTS, progress=True)
    assert file.getvalue() == ""


def test_a_notebook_shows_it_though_its_standard_error_is_no_terminal(look, tiny_model, monkeypatch):
    file = look(io.StringIO())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))

    tiny_model("bert").score("panda", DOCUMENTS, progress=True)

    assert "4/4" in file.getvalue()


def test_without_tqdm_the_message_says_what_to_install(look, monkeypatch):
    look()
    imported = builtins.__import__

    def without_tqdm(name, *arguments, **keywords):
        if name.startswith("tqdm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="tqdm")
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)

    with pytest.raises(MissingExtra, match="progress=True needs tqdm, which draws the bar: pip install tqdm"):
        score_pairs(OverlapModel(), [("panda", "a")], progress=True)


def test_a_scorer_of_ones_own_need_not_know_of_it():
    class Constant:
        def score(self, query, documents, options=None):
            return Scores(values=(0.5,), model="constant", usage=Usage(pairs=1, tokens=0, truncated=0))

    assert rerank(Constant(), "panda", ["a panda"])[0].score == 0.5
