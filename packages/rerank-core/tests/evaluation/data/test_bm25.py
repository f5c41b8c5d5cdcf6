import pytest
from rerank_core.evaluation.data.bm25 import BM25, terms
from rerank_core.evaluation.data.candidates import ask, choose, parse_candidates
from rerank_core.evaluation.data.layouts import CANDIDATES, read_collection, read_lines
from rerank_core.evaluation.judge.measures import judge


def test_words_are_counted_in_lower_case():
    assert terms("The Giant-Panda, naïve 42!") == ["the", "giant", "panda", "naïve", "42"]


def test_scripts_without_spaces_are_counted_by_characters_and_pairs():
    assert terms("黑豹队 NFL") == ["黑", "豹", "队", "黑豹", "豹队", "nfl"]


def test_the_best_documents_come_first_and_those_without_a_shared_word_not_at_all():
    index = BM25({"a": "france", "b": "paris is in france", "c": "bamboo"})

    assert index.retrieve("paris france", 10) == ["b", "a"]
    assert index.retrieve("paris france", 1) == ["b"]


def test_equal_documents_keep_the_order_of_the_corpus():
    index = BM25(dict.fromkeys("cab", "the same words"))

    assert index.retrieve("same", 10) == ["c", "a", "b"]


@pytest.mark.parametrize("query", ["", "?!", "unknown"])
def test_a_query_that_shares_nothing_finds_nothing(query):
    index = BM25({"a": "france", "b": ""})

    assert index.retrieve(query, 10) == []
    assert index.score(query, ["b", "a"]) == [0.0, 0.0]


def test_a_corpus_without_any_word_finds_nothing():
    assert BM25({"a": "", "b": "!"}).retrieve("france", 10) == []


@pytest.mark.parametrize(("name", "expected"), [("wikiqa-test", 0.714), ("cranfield", 0.3487), ("xquad-zh", 0.9669)])
def test_candidates_as_given_are_judged_as_their_makers_did(shared_collection, name, expected):
    collection = read_collection(shared_collection(name))
    given = parse_candidates(read_lines(shared_collection(name) / CANDIDATES), CANDIDATES)
    questions = ask(collection, choose(collection, given, None).queries, given, 100)

    ndcgs = judge(questions, [question.candidates for question in questions]).ndcg

    assert sum(ndcgs) / len(ndcgs) == pytest.approx(expected, abs=5e-5)
