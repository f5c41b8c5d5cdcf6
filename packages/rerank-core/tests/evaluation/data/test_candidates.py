import pytest
from rerank_core import InvalidRequest
from rerank_core.evaluation.data.candidates import ask, choose, parse_candidates
from rerank_core.evaluation.data.layouts import read_collection
from rerank_core.evaluation.data.trec_run import format_run


@pytest.fixture
def collection(flat):
    return read_collection(flat)


def test_queries_that_nothing_is_relevant_to_are_passed_over_and_counted(collection):
    choice = choose(collection, None, None)

    assert choice.queries == ("q1", "q2", "q3")
    assert (choice.without_relevant, choice.without_candidates) == (1, 0)


def test_queries_that_the_candidates_lack_are_passed_over_and_counted(collection):
    choice = choose(collection, {"q1": [], "q3": ["d3"]}, None)

    assert choice.queries == ("q3",)
    assert (choice.without_relevant, choice.without_candidates) == (1, 2)


def test_the_first_queries_are_the_first_of_their_file(collection):
    assert choose(collection, None, 2).queries == ("q1", "q2")


def test_nothing_to_ask_says_why(collection):
    with pytest.raises(InvalidRequest, match="1 have no relevant document, 3 have no candidates"):
        choose(collection, {}, None)


def test_a_question_has_its_best_candidates_with_their_texts_and_all_its_grades(collection):
    (question,) = ask(collection, ["q1"], {"q1": ["d4", "d1", "d2"]}, depth=2)

    assert question.candidates == ("d4", "d1")
    assert question.documents == ("bamboo", collection.documents["d1"])
    assert question.relevant == {"d1"}


def test_candidates_of_another_collection_are_counted(collection):
    with pytest.raises(InvalidRequest, match="2 of the 3 candidates of query 'q1' are not in the corpus of small"):
        ask(collection, ["q1"], {"q1": ["d1", "x", "y"]}, depth=10)


def test_a_digest_is_of_the_texts_and_their_order(collection):
    def digest(query, ids):
        return ask(collection, [query], {query: ids}, depth=10)[0].digest

    assert digest("q1", ["d1", "d2"]) == digest("q1", ["d1", "d2"])
    assert len({digest("q1", ["d1", "d2"]), digest("q1", ["d2", "d1"]), digest("q2", ["d1", "d2"])}) == 3


def test_json_lines_hold_ids_or_objects_with_ids():
    lines = [
        '{"query_id": "q1", "candidates": [{"id": "b", "score": 2.0}, {"id": "a"}]}',
        "",
        '{"query_id": "q2", "candidates": ["c", "a", "c"]}',
    ]

    assert parse_candidates(lines, "file") == {"q1": ("b", "a"), "q2": ("c", "a")}


def test_a_trec_run_is_ordered_by_its_ranks():
    lines = ["q1 Q0 late 10 0.5 bm25", "q1 Q0 first 1 9.5 bm25", "q1\tQ0\tsecond\t2\t3\tbm25", "q2 Q0 only 1 1 bm25"]

    assert parse_candidates(lines, "file") == {"q1": ("first", "second", "late"), "q2": ("only",)}


def test_a_run_whose_ranks_are_all_alike_is_ordered_by_its_scores():
    assert parse_candidates(["q 0 low 0 1.5 x", "q 0 high 0 2.5 x"], "file") == {"q": ("high", "low")}


def test_a_written_run_is_read_again():
    rankings = {"q1": [("b", 2.5), ("a", 2.5), ("c", -1e-9)], "q2": [("d", 0.1)]}

    run = format_run(rankings, "my model 64 tokens")

    assert run.splitlines()[0] == "q1 Q0 b 1 2.5 my-model-64-tokens"
    assert parse_candidates(run.splitlines(), "file") == {"q1": ("b", "a", "c"), "q2": ("d",)}


@pytest.mark.parametrize(("query", "document"), [("q 1", "d"), ("q", "d\t1"), ("q", "")])
def test_an_id_that_would_be_two_columns_of_a_run_is_refused(query, document):
    with pytest.raises(InvalidRequest, match="cannot be written into a TREC run"):
        format_run({query: [(document, 1.0)]}, "name")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["", " "], "file is empty"),
        (["{"], "file, line 1 is not JSON"),
        (['{"query_id": 1, "candidates": []}'], "line 1: needs a string 'query_id'"),
        (['{"query_id": "1", "candidates": [{"score": 1}]}'], "line 1: needs a string 'query_id'"),
        (["q1 Q0 d 1 1 run", "q1 d"], "file, line 2 has 2 columns: a TREC run has six"),
        (["q1 0 d 1"], "file, line 1 has 4 columns: .*; four columns are judgements, which lie in qrels"),
        (["q1 Q0 d best 1 run"], "file, line 1 has 6 columns: a TREC run has six"),
    ],
)
def test_candidates_that_cannot_be_read_name_their_line(lines, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        parse_candidates(lines, "file")
