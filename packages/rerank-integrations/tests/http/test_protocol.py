import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import (
    DeadlineExceeded,
    InputTooLong,
    InvalidRequest,
    ModelError,
    Overloaded,
    RerankError,
    Unauthorized,
    Unavailable,
    UnknownModel,
)
from rerank_core.types import ScoreOptions, Scores, Span, Usage
from rerank_integrations.http.protocol import (
    _NAMES,
    NotARerankServer,
    Question,
    ServerInfo,
    foreign_error,
    join,
    read_info,
    read_own_error,
    read_scores,
)

URL = "http://rerank:8000/v1/rerank"
INFO = ServerInfo(model="m", max_documents=3, max_body_bytes=200)
PLAIN = ScoreOptions()


def answer(results: Any, **more: Any) -> bytes:
    usage = {"prompt_tokens": 7, "total_tokens": 7, "truncated": 1}
    return json.dumps({"model": "m", "usage": usage, "results": results, **more}).encode()


def result(index: Any, score: Any, **more: Any) -> dict[str, Any]:
    return {"index": index, "relevance_score": score, **more}


def scores_of(content: bytes, part: range, options: ScoreOptions = PLAIN, **more: Any) -> Scores:
    return read_scores(content, URL, part, Question("q", ["d"] * part.stop, options, **more))


@given(
    documents=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=40),
    max_documents=st.integers(1, 5),
    max_body_bytes=st.integers(250, 400),
)
def test_parts_hold_every_document_once_in_order_within_the_limits(
    documents: list[str], max_documents: int, max_body_bytes: int
) -> None:
    question = Question("a query", documents, PLAIN)

    parts = question.parts(ServerInfo(model="m", max_documents=max_documents, max_body_bytes=max_body_bytes))

    assert [index for part in parts for index in part] == list(range(len(documents)))
    assert all(1 <= len(part) <= max_documents for part in parts)
    assert all(len(question.body(part)) <= max_body_bytes for part in parts)


def test_a_part_may_fill_the_body_to_the_last_byte() -> None:
    question = Question("q", ["é" * 10, "x" * 10], PLAIN)
    size = len(question.body(range(2)))

    assert question.parts(ServerInfo(model="m", max_documents=9, max_body_bytes=size)) == [range(2)]
    assert question.parts(ServerInfo(model="m", max_documents=9, max_body_bytes=size - 1)) == [range(1), range(1, 2)]


def test_a_document_too_large_for_any_request_is_named_with_both_sizes() -> None:
    question = Question("q", ["fine", "x" * 300], PLAIN)
    size = len(question.body(range(1, 2)))

    with pytest.raises(InvalidRequest, match=f"document 1 and the query make a request of {size} bytes.* takes 200"):
        question.parts(INFO)


def test_only_options_that_differ_from_the_default_are_sent() -> None:
    plain = {"query": "q", "documents": ["d"], "return_raw_scores": True}
    assert json.loads(Question("q", ["d"], PLAIN).body(range(1))) == plain

    every = ScoreOptions(
        raw=True,
        truncate=False,
        truncation="only_second",
        truncation_side="left",
        max_query_tokens=3,
        max_document_tokens=4,
    )
    assert json.loads(Question("q", ["d"], every).body(range(1))) == {
        "query": "q",
        "documents": ["d"],
        "raw_scores": True,
        "truncate": False,
        "truncation_strategy": "only_second",
        "truncation_side": "left",
        "max_tokens_per_query": 3,
        "max_tokens_per_doc": 4,
    }


def test_scores_are_put_back_into_the_order_of_the_documents() -> None:
    scores = scores_of(answer([result(1, 0.9), result(0, 1)]), range(10, 12))

    assert scores == Scores(values=(1.0, 0.9), model="m", usage=Usage(pairs=2, tokens=7, truncated=1))


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        pytest.param([result(0, 0.5)], "1 scores for 2 documents: none for document 11", id="missing"),
        pytest.param([], "0 scores for 2 documents: none for document 10", id="none"),
        pytest.param([result(0, 0.5), result(0, 0.5)], "two scores for document 10", id="twice"),
        pytest.param([result(0, 0.5), result(2, 0.5)], "index 2 for 2 documents", id="out of range"),
        pytest.param([result(0, 0.5), result(-1, 0.5)], "index -1 for 2 documents", id="negative"),
        pytest.param([result(0, 0.5), result(True, 0.5)], "index True", id="not a number"),
        pytest.param([result(0, 0.5), result(1, float("nan"))], "nan as the score of document 11", id="nan"),
        pytest.param([result(0, 0.5), result(1, float("inf"))], "inf as the score of document 11", id="infinite"),
        pytest.param([result(0, 0.5), result(1, 10**400)], "as the score of document 11", id="no float"),
        pytest.param([result(0, 0.5), result(1, None)], "None as the score of document 11", id="null"),
        pytest.param([result(0, 0.5), result(1, "0.5")], "'0.5' as the score of document 11", id="a string"),
        pytest.param([{"index": 0}], "another shape.*relevance_score", id="no score"),
        pytest.param(None, "another shape", id="no results"),
    ],
)
def test_an_incomplete_answer_is_an_error_that_says_what_is_wrong(results: Any, complaint: str) -> None:
    with pytest.raises(ModelError, match=f"POST {URL} answered with .*{complaint}|POST {URL} answered in {complaint}"):
        scores_of(answer(results), range(10, 12))


@pytest.mark.parametrize("content", [b"", b"<html>hello</html>", b"[1]", b"\xff"])
def test_an_answer_that_is_no_json_object_is_an_error_with_an_excerpt(content: bytes) -> None:
    with pytest.raises(ModelError, match="something else than a JSON object"):
        scores_of(content, range(1))
    with pytest.raises(ModelError, match="something else than a JSON object"):
        read_info(content, URL)


@pytest.mark.parametrize("field", ["model_id", "max_client_batch_size", "max_body_bytes"])
@pytest.mark.parametrize("value", [None, 0, -1, True, "", 1.5])
def test_information_without_what_we_need_is_an_error_that_names_it(field: str, value: object) -> None:
    content = {"model_id": "m", "max_client_batch_size": 3, "max_body_bytes": 200}
    assert read_info(json.dumps(content).encode(), URL) == INFO

    with pytest.raises(ModelError, match=f"without a usable {field}"):
        read_info(json.dumps({**content, field: value}).encode(), URL)


def test_a_model_that_changed_between_the_parts_is_worth_another_try() -> None:
    usage = Usage(pairs=1, tokens=1, truncated=0)
    answers = [Scores(values=(0.5,), model=name, usage=usage) for name in ("old", "new")]

    with pytest.raises(Unavailable, match="changed from old to new"):
        join(answers, INFO, ScoreOptions())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, NotARerankServer),
        (400, NotARerankServer),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotARerankServer),
        (408, DeadlineExceeded),
        (413, NotARerankServer),
        (422, NotARerankServer),
        (429, Overloaded),
        (500, ModelError),
        (501, ModelError),
        (502, Unavailable),
        (503, Unavailable),
        (504, DeadlineExceeded),
    ],
)
@pytest.mark.parametrize(
    "content", [b"", b"<html>\n  nginx</html>", b'{"detail": "no"}', b'{"message": "no", "code": "theirs"}', b"[]"]
)
def test_an_error_without_a_code_of_ours_goes_by_its_status_and_names_the_address(
    status: int, kind: type[RerankError], content: bytes
) -> None:
    error = foreign_error(status, content, URL)

    assert read_own_error(content) is None
    assert type(error) is kind
    assert f"{URL} answered {status}" in str(error)


def test_an_excerpt_of_a_body_is_short_and_on_one_line() -> None:
    error = foreign_error(500, b"<html>\n<h1>Internal\tServer Error</h1>" + b"x" * 10_000, URL)

    assert str(error).startswith(f"{URL} answered 500 (<html> <h1>Internal Server Error</h1>xxx")
    assert len(str(error)) < 300


@pytest.mark.parametrize(("code", "kind"), [("unknown_model", UnknownModel), ("body_too_large", InvalidRequest)])
def test_an_error_with_a_code_keeps_the_words_of_the_server(code: str, kind: type[RerankError]) -> None:
    """Not those for a proxy, or for the wrong address, that has the same status."""
    error = read_own_error(json.dumps({"message": "what to do", "code": code}).encode())

    assert type(error) is kind
    assert str(error) == "what to do"


def test_a_request_that_another_server_sends_back_is_not_shown() -> None:
    echo = {"detail": [{"msg": "field required", "input": {"query": "a secret", "documents": ["of mine"]}}]}

    error = foreign_error(422, json.dumps(echo).encode(), URL)

    assert str(error) == f"{URL} answered 422 (JSON of another kind)"


def test_a_message_about_a_part_says_which_documents_it_counts() -> None:
    question = Question("q", ["d"] * 5, PLAIN)
    content = json.dumps({"message": "document 1 has 812 tokens", "code": "input_too_long"}).encode()

    error = read_own_error(content, note=question.note(range(3, 5)))

    assert type(error) is InputTooLong
    assert str(error) == "document 1 has 812 tokens (in the part with documents 3 to 4, numbered from 0)"
    assert str(read_own_error(content, note=question.note(range(5)))) == "document 1 has 812 tokens"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), (None, None), ("", None), ("soon", None), ("-1", None), ("inf", None), ("nan", None)],
)
def test_the_time_to_wait_is_read_where_it_is_in_seconds(header: str | None, seconds: float | None) -> None:
    error = foreign_error(503, b"", URL, retry_after=header)

    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds


def test_every_option_has_a_name_on_the_wire() -> None:
    """One that had none would be dropped in silence, and the scores would be others than in process."""
    assert {field.name for field in dataclasses.fields(ScoreOptions)} == set(_NAMES)


def test_documents_to_highlight_are_sent_with_highlight_only_for_the_server_refuses_them_alone() -> None:
    fields = {"highlight_top": 2, "highlight_threshold": 0.5}
    alone = ScoreOptions(highlight_top=2, highlight_threshold=0.5)
    both = dataclasses.replace(alone, highlight="sentences")

    assert not json.loads(Question("q", ["d"], alone).body(range(1))).keys() & fields.keys()
    assert fields.items() <= json.loads(Question("q", ["d"], both).body(range(1))).items()


def test_raw_scores_are_asked_for_and_kept_where_all_documents_have_one() -> None:
    both = [result(1, 1.0, raw_score=40.0), result(0, 1.0, raw_score=50.0)]

    assert scores_of(answer(both), range(2)).raw_values == (50.0, 40.0)
    assert scores_of(answer([result(0, 1.0, raw_score=5), result(1, 1.0)]), range(2)).raw_values is None
    assert scores_of(answer([result(0, 1.0), result(1, 1.0)]), range(2)).raw_values is None
    assert scores_of(answer([result(0, 5.0), result(1, 4.0)]), range(2), ScoreOptions(raw=True)).raw_values == (
        5.0,
        4.0,
    )


def test_raw_scores_of_parts_come_together_where_all_have_them() -> None:
    usage = Usage(pairs=1, tokens=1, truncated=0)
    known = Scores(values=(1.0,), raw_values=(40.0,), model="m", usage=usage)
    unknown = Scores(values=(1.0,), model="m", usage=usage)

    assert join([known, known], INFO, ScoreOptions()).raw_values == (40.0, 40.0)
    assert join([known, unknown], INFO, ScoreOptions()).raw_values is None
    assert join([], INFO, ScoreOptions()).raw_values == ()


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
    room=st.integers(250, 400),
    side=st.sampled_from(["left", "right"]),
)
def test_a_document_that_fits_into_no_request_is_cut_to_the_last_character_that_does(
    text: str, room: int, side: Any
) -> None:
    question = Question("q", ["a", text * 3], ScoreOptions(truncation_side=side))
    info = ServerInfo(model="m", max_documents=9, max_body_bytes=room)

    fitted = question.fitted(info)

    kept = fitted.documents[1]
    assert all(len(fitted.body(part)) <= room for part in fitted.parts(info))
    if kept == text * 3:
        assert fitted is question
        return
    assert kept
    missing = len(text * 3) - len(kept)
    assert (text * 3).endswith(kept) if side == "left" else (text * 3).startswith(kept)
    assert fitted.cuts == {1: missing if side == "left" else 0}
    one_more = (text * 3)[missing - 1 :] if side == "left" else (text * 3)[: len(kept) + 1]
    assert len(Question("q", [one_more], fitted.options).body(range(1))) > room


def test_where_nothing_may_be_cut_nothing_is() -> None:
    question = Question("q" * 300, ["x" * 300], ScoreOptions(truncate=False))

    assert question.fitted(INFO) is question
    assert question.shortened(dataclasses.replace(INFO, max_text_chars=10)) is question
    assert question.shortened(INFO) is question


def test_texts_with_more_characters_than_the_server_takes_can_be_cut() -> None:
    info = dataclasses.replace(INFO, max_text_chars=3)

    right = Question("query", ["abcde", "ab"], PLAIN).shortened(info)
    left = Question("q", ["abcde", "ab"], ScoreOptions(truncation_side="left")).shortened(info)

    assert (right.query, right.documents, right.cuts) == ("que", ["abc", "ab"], {0: 0})
    assert (left.query, left.documents, left.cuts) == ("q", ["cde", "ab"], {0: 2})


def test_what_was_cut_here_counts_as_truncated_once_and_spans_are_those_of_the_whole_text() -> None:
    spans = [result(0, 0.5, relevant_spans=[{"start": 1, "end": 3}]), result(1, 0.5)]

    found = scores_of(answer(spans), range(10, 12), cuts={10: 100, 3: 7})
    many = scores_of(answer(spans), range(10, 12), cuts={10: 100, 11: 0})

    assert found.usage.truncated == 1
    assert found.spans == (Span(101, 103), None)
    assert many.usage.truncated == 2
