import json

import pytest
from rerank_core import InvalidRequest
from rerank_core.evaluation.data.judgements import parse_judgements
from rerank_core.evaluation.data.layouts import read_collection

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
        ("corpus.jsonl", f'[1, "{SECRET}"]\n', "corpus.jsonl, line 1 is list, not a JSON object"),
        ("corpus.jsonl", f'["{SECRET}"]\n', "corpus.jsonl is a JSON array without ids: it needs an id and a text"),
        ("corpus.jsonl", f'{{"_id": 1.5, "text": "{SECRET}"}}\n', "line 1 has a float as '_id': an id is a string or"),
        ("corpus.jsonl", f'{{"id": "{SECRET}", "text": 1}}\n', "line 1: 'text' is int, not a string"),
        ("corpus.jsonl", f'{{"_id": "d1", "text": "{SECRET}"}}\n' * 2, "line 2: the id 'd1' is there twice"),
        (
            "queries.jsonl",
            f'{{"_id": "q1", "body": "{SECRET}"}}\n',
            "columns '_id', 'body', none of them 'text'",
        ),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "qrels.tsv holds no judgement"),
        ("qrels.tsv", "q1 d1 1\n\nq1 d1\n", "qrels.tsv, line 3 has 2 columns: it needs three"),
        ("qrels.tsv", "a\tb\tc\nq1\td1\tgood\n", "qrels.tsv, line 2 has 3 columns: it needs three"),
        ("qrels.tsv", "q1 Q0 d1 1 9.5 bm25\n", "line 1 has 6 columns: that is a TREC run, which --candidates reads"),
        ("qrels.tsv", "q1 0 d1 1\nq1 d2 1\n", "qrels.tsv, line 2 has 3 columns, and lines before it 4"),
        ("qrels.tsv", "q1 d1 1\nq1 d1 2\n", "line 2: document 'd1' of query 'q1' has two grades, 1 and 2"),
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


def test_a_title_may_be_missing_or_null(flat):
    lines = [json.dumps({"_id": "d1", "text": "a"}), json.dumps({"_id": "d2", "text": "b", "title": None})]
    (flat / "corpus.jsonl").write_text("\n".join(lines))
    assert read_collection(flat).documents == {"d1": "a", "d2": "b"}

    (flat / "corpus.jsonl").write_text("\n".join(reversed(lines)))
    assert read_collection(flat).documents == {"d2": "b", "d1": "a"}


@pytest.mark.parametrize(
    "judgements", ["q 0 d -1\n", "q\t0\td\t-1\n", "q d -1\n", "q\td\t-1.0\n", "topic iter doc rel\nq 0 d -1"]
)
def test_judgements_have_three_columns_or_the_four_of_trec(judgements):
    assert parse_judgements(judgements.split("\n"), "qrels").grades == {"q": {"d": -1}}


def texts(rows, header):
    return "".join(f"{line}\n" for line in (*([header] if header else []), *rows))


@pytest.mark.parametrize(
    ("names", "header", "separator", "said"),
    [
        # TREC and MS MARCO.
        (("collection.tsv", "topics.tsv", "qrels.txt"), ("", ""), "\t", "TSV with tabs between columns and no header"),
        (("corpus.tsv", "queries.tsv", "qrels.tsv"), ("id\ttext", "id\ttext"), "\t", "id 'id', text 'text'"),
        (("corpus.csv", "queries.csv", "qrels.tsv"), ("docid;passage", "qid;query"), ";", "id 'docid', text 'passage'"),
    ],
)  # fmt: skip
def test_texts_may_be_a_table(flat, names, header, separator, said):
    collection = read_collection(flat)
    corpus, queries, judged = names
    (flat / "corpus.jsonl").unlink()
    (flat / "queries.jsonl").unlink()
    (flat / "qrels.tsv").unlink()
    documents = [f"{identity}{separator}{text}" for identity, text in collection.documents.items()]
    asked = [f"{identity}{separator}{text}" for identity, text in collection.queries.items()]
    (flat / corpus).write_text(texts(documents, header[0]))
    (flat / queries).write_text(texts(asked, header[1]))
    grades = [
        f"{query} 0 {document} {grade}" for query, own in collection.grades.items() for document, grade in own.items()
    ]
    (flat / judged).write_text(texts(grades, ""))

    read = read_collection(flat)

    assert (read.documents, read.queries, read.grades) == (collection.documents, collection.queries, collection.grades)
    assert said in read.description
    assert "(TREC: query, iteration, document, grade)" in read.description


def test_parquet_has_titles_and_numbers_as_ids(flat):
    arrow = pytest.importorskip("pyarrow", reason="SKIPPED LOUDLY: pyarrow is not installed")
    from pyarrow import parquet

    (flat / "corpus.jsonl").unlink()
    parquet.write_table(arrow.table({"id": [1, 2], "title": ["T", None], "text": ["a", "b"]}), flat / "corpus.parquet")

    assert read_collection(flat).documents == {"1": "T a", "2": "b"}


def test_two_files_that_may_both_be_meant_are_refused(flat):
    (flat / "corpus.jsonl").unlink()
    (flat / "corpus.tsv").write_text("d1\ta\n")
    (flat / "collection.tsv").write_text("d1\ta\n")

    with pytest.raises(InvalidRequest, match=r"holds corpus\.tsv and collection\.tsv: leave only one of them"):
        read_collection(flat)
