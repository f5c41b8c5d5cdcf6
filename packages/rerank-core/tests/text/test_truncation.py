import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import InputTooLong
from rerank_core.text.truncation import cut, kept_lengths
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL_TOKENS = 4
LENGTHS = st.integers(0, 40)
SIDES = st.sampled_from(["right", "left"])


def library_tokenizer() -> Tokenizer:
    """One whose tokens are numbers, with four special tokens around a pair."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "s": 1} | {str(n): n for n in range(2, 200)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(pair="s $A s s $B s", special_tokens=[("s", 1)])
    return tokenizer


def text_of(ids: range) -> str:
    return " ".join(map(str, ids))


@given(LENGTHS, LENGTHS, st.integers(0, 60), SIDES)
def test_longest_first_keeps_what_the_tokenizers_library_keeps(query, document, room, side):
    tokenizer = library_tokenizer()
    tokenizer.enable_truncation(room + SPECIAL_TOKENS, strategy="longest_first", direction=side)
    queries, documents = range(2, 2 + query), range(100, 100 + document)

    kept = kept_lengths(query, document, room, "longest_first")

    ours = [1, *cut(queries, kept[0], side), 1, 1, *cut(documents, kept[1], side), 1]
    assert ours == tokenizer.encode(text_of(queries), text_of(documents)).ids


@given(LENGTHS, LENGTHS, st.integers(1, 60), SIDES)
def test_only_second_keeps_what_the_tokenizers_library_keeps_and_fails_where_it_fails(query, document, room, side):
    tokenizer = library_tokenizer()
    tokenizer.enable_truncation(room + SPECIAL_TOKENS, strategy="only_second", direction=side)
    queries, documents = range(2, 2 + query), range(100, 100 + document)
    try:
        theirs = tokenizer.encode(text_of(queries), text_of(documents)).ids
    except Exception:  # the library has no other class for it
        with pytest.raises(InputTooLong):
            kept_lengths(query, document, room, "only_second")
        return

    kept = kept_lengths(query, document, room, "only_second")

    assert [1, *cut(queries, kept[0], side), 1, 1, *cut(documents, kept[1], side), 1] == theirs


@given(LENGTHS, LENGTHS, st.integers(0, 60))
def test_no_room_is_wasted_and_none_is_overdrawn(query, document, room):
    kept = kept_lengths(query, document, room, "longest_first")

    assert sum(kept) == min(query + document, room)
    assert kept[0] <= query
    assert kept[1] <= document


def test_a_query_that_leaves_no_room_is_refused_with_both_numbers():
    with pytest.raises(InputTooLong, match=r"the query has 30 tokens and the model reads 20.*max_query_tokens"):
        kept_lengths(30, 5, 20, "only_second")


def test_a_cut_keeps_the_beginning_or_the_end():
    assert list(cut([1, 2, 3], 2, "right")) == [1, 2]
    assert list(cut([1, 2, 3], 2, "left")) == [2, 3]
    assert list(cut([1, 2, 3], 0, "left")) == []
    assert list(cut([1, 2, 3], None, "left")) == [1, 2, 3]
    assert list(cut([1, 2, 3], 9, "left")) == [1, 2, 3]
