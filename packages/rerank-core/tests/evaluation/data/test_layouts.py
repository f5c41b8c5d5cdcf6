import json

import pytest
from rerank_core import InvalidRequest
from rerank_core.evaluation.data.layouts import parse_grades, parse_texts, read_collection

SECRET = "a word of a document"


def test_both_layouts_hold_the_same_collection(flat, beir):
    one, other = read_collection(flat), read_collection(beir)

    assert one == other
    assert one.name == "small"
    assert one.documents["d3"] == "Trains mountains in central switzerland"
    assert one.documents["d4"] == "bamboo"
    assert one.grades["q1"] == {"d1": 2, "d2": 0}


def test_a_split_chooses_the_judgements(beir):
    assert read_collection(beir, split="dev").grades == {"q1": {"d1": 1}}


def test_without_a_test_split_one_must_be_chosen(beir):
    (beir / "qrels" / "test.tsv").rename(beir / "qrels" / "train.tsv")

    with pytest.raises(InvalidRequest, match="has dev, train: choose one with --split"):
        read_collection(beir)
    (beir / "qrels" / "train.tsv").unlink()
    assert read_collection(beir).grades == {"q1": {"d1": 1}}


def test_a_split_that_is_not_there_names_those_that_are(beir, flat):
    with pytest.raises(InvalidRequest, match=r"has no eval\.tsv: there are dev, test"):
        read_collection(beir, split="eval")
    with pytest.raises(InvalidRequest, match=r"has no qrels/eval\.tsv"):
        read_collection(flat, split="eval")


def test_the_digest_follows_the_texts_and_not_the_judgements(flat):
    before = read_collection(flat).digest
    (flat / "qrels.tsv").write_text("q1\td1\t1\n")
    assert read_collection(flat).digest == before
    (flat / "corpus.jsonl").write_text('{"_id": "d1", "text": "other"}\n')
    assert read_collection(flat).digest != before


def test_a_folder_of_collections_names_them(flat, beir):
    with pytest.raises(InvalidRequest, match="it holds the collections small: name one of them"):
        read_collection(flat.parent)


def test_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(InvalidRequest, match="there is no such folder"):
        read_collection(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("corpus.jsonl", "", "corpus.jsonl is empty"),
        ("corpus.jsonl", f'{{"_id": "d1", "text": "{SECRET}"}}\n{{{SECRET}\n', "corpus.jsonl, line 2 is not JSON"),
        ("corpus.jsonl", f'["{SECRET}"]\n', "corpus.jsonl, line 1 is list, not a JSON object"),
        ("corpus.jsonl", f'{{"_id": 1, "text": "{SECRET}"}}\n', "line 1: needs strings '_id' and 'text'"),
        ("corpus.jsonl", f'{{"_id": "d1", "text": "{SECRET}"}}\n' * 2, "line 2: the id 'd1' is there twice"),
        ("queries.jsonl", f'{{"_id": "q1", "body": "{SECRET}"}}\n', "queries.jsonl, line 1: needs strings"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "qrels.tsv holds no judgement"),
        ("qrels.tsv", "q1 d1 1\n\nq1 d1 1\n", "qrels.tsv, line 3 has 1 columns"),
        ("qrels.tsv", "a\tb\tc\nq1\td1\tgood\n", "qrels.tsv, line 2 has 3 columns between tabs: it needs three"),
        ("qrels.tsv", "q77\td1\t1\n", "none of the 1 queries of qrels.tsv is one of the 4 of queries.jsonl"),
    ],
)
def test_what_cannot_be_read_is_named_without_any_text(flat, name, content, complaint):
    (flat / name).write_text(content)

    with pytest.raises(InvalidRequest) as caught:
        read_collection(flat)

    assert complaint in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_utf8_names_the_byte(flat):
    (flat / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "caf\xe9"}')

    with pytest.raises(InvalidRequest, match=r"queries\.jsonl is not UTF-8: byte 26 is 0xe9"):
        read_collection(flat)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(flat, name):
    (flat / name).unlink()

    with pytest.raises(InvalidRequest, match=f"has no {name}: a collection is"):
        read_collection(flat)


def test_windows_line_ends_and_byte_order_marks_do_no_harm(flat):
    lines = '{"_id": "q1", "text": "x"}\r\n\r\n{"_id": "q2", "text": "y"}\r\n'
    (flat / "queries.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (flat / "qrels.tsv").write_bytes(b"query-id\tcorpus-id\tscore\r\nq1\td1\t1\r\n")

    collection = read_collection(flat)

    assert collection.queries == {"q1": "x", "q2": "y"}
    assert collection.grades == {"q1": {"d1": 1}}


def test_a_title_may_be_missing_or_null():
    lines = [json.dumps({"_id": "1", "text": "a"}), json.dumps({"_id": "2", "text": "b", "title": None})]

    assert parse_texts(lines, "corpus.jsonl") == {"1": "a", "2": "b"}


def test_grades_need_no_header():
    assert parse_grades(["q\td\t-1"], "qrels.tsv") == {"q": {"d": -1}}
