"""Sentences of a text: where each script ends them, and where a dot ends none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.text.sentences import MOST, sentences
from rerank_core.types import Span


def parts(text: str, window: Span | None = None) -> list[str]:
    return [text[start:end] for start, end in sentences(text, window)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two! Three?  Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "Go." Then (he went.) Bye…', ['He said "Go."', "Then (he went.)", "Bye…"]),
        ("Dr. Smith lives in St. Louis. He is well.", ["Dr. Smith lives in St. Louis.", "He is well."]),
        ("It has 3.5 km, e.g. here. J. K. Li walks.", ["It has 3.5 km, e.g. here.", "J. K. Li walks."]),
        ("Das ist z. B. am 3. Mai 2020. Gut.", ["Das ist z. B. am 3. Mai 2020.", "Gut."]),
        ("i went away. then i slept", ["i went away.", "then i slept"]),
        ("这是一句。你好！「真的吗？」是的", ["这是一句。", "你好！", "「真的吗？」", "是的"]),
        ("هل هذا؟ نعم۔ لا.", ["هل هذا؟", "نعم۔", "لا."]),
        ("यह है। वह है।", ["यह है।", "वह है।"]),
        ("A heading\n\n- one thing\n- another\n2) third", ["A heading", "- one thing", "- another", "2) third"]),
        ("wrapped\nlines are one. Two", ["wrapped\nlines are one.", "Two"]),
        ("Wait . . . what? !!!", ["Wait . . .", "what? !!!"]),
        ("...", ["..."]),
        (" \n\t", []),
        ("", []),
    ],
)
def test_each_script_ends_its_sentences(text: str, wanted: list[str]) -> None:
    assert parts(text) == wanted


@given(st.text("aB1. !。\n-\"'’", max_size=300))
def test_the_sentences_together_have_every_character_that_is_no_white_space(text: str) -> None:
    found = sentences(text)

    assert [start for start, _ in found] == sorted({start for start, _ in found})
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in found)
    assert "".join("".join(part.split()) for part in parts(text)) == "".join(text.split())
    assert len(found) <= MOST


def test_a_window_has_whole_sentences_where_their_middle_is_in_it() -> None:
    text = "The first is here. The second is a little longer. The third ends."
    second = text.index("The second")

    assert parts(text, Span(second - 3, second + 20)) == ["The second is a little longer."]
    assert parts(text, Span(second - 15, second + 20)) == ["The first is here.", "The second is a little longer."]
    assert parts(text, Span(second + 2, second + 6)) == ["e se"], "no middle is in it: the window itself"
    assert parts(text, Span(7, 7)) == []


def test_more_sentences_than_the_most_are_taken_together() -> None:
    text = "One. " * (2 * MOST + 1)

    assert parts(text)[0] == "One. One. One."
    assert len(parts(text)) <= MOST


@pytest.mark.parametrize("character", [".", '."', "\n", " \n", "。", "-", "\n-"])
def test_a_long_row_of_marks_is_read_in_a_time_that_grows_with_its_length_only(character: str) -> None:
    """Reading 300,000 dots again from each of them would take longer than this test may."""
    text = character * 300_000 + "x"

    assert "".join(parts(text)).endswith("x")
