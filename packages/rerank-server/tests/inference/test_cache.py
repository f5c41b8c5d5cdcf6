import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.types import Encoding, Pair, ScoreOptions, TokenSequence
from rerank_server.inference.cache import CacheEntry, ScoreCache, key_of

KNOWN = CacheEntry(Encoding((0,), (TokenSequence.of(range(100)),)), (1.5,))


def cache(entries: float = 10) -> ScoreCache:
    return ScoreCache(int(entries * KNOWN.size), "model")


def test_what_was_put_is_found_as_of_the_asked_pair() -> None:
    kept = cache()
    kept.put(b"key", KNOWN)

    found = kept.get(b"key", 7)

    assert found is not None
    assert found == CacheEntry(replace(KNOWN.encoding, documents=(7,)), (1.5,))
    assert kept.get(b"other", 0) is None


def test_it_never_has_more_bytes_than_it_may_and_the_least_used_leave() -> None:
    kept = cache(entries=2.5)
    kept.put(b"1", KNOWN)
    kept.put(b"2", KNOWN)
    kept.get(b"1", 0)
    kept.put(b"3", KNOWN)

    assert [kept.get(key, 0) is not None for key in (b"1", b"2", b"3")] == [True, False, True]
    assert (len(kept), kept.bytes) == (2, 2 * KNOWN.size)


def test_the_same_key_again_takes_no_more_room() -> None:
    kept = cache()
    kept.put(b"1", KNOWN)
    kept.put(b"1", KNOWN)

    assert (len(kept), kept.bytes) == (1, KNOWN.size)


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    kept = cache(entries=0.5)
    kept.put(b"1", KNOWN)

    assert (len(kept), kept.bytes) == (0, 0)


def test_a_size_is_near_what_python_takes() -> None:
    (sequence,) = KNOWN.encoding.sequences
    parts = (KNOWN, KNOWN.encoding, sequence, sequence.token_ids, sequence.type_ids, KNOWN.outputs, 1.5, b"k" * 32)

    assert KNOWN.size >= sum(sys.getsizeof(part) for part in parts)


OTHER_OPTIONS = [
    ScoreOptions(truncate=False),
    ScoreOptions(truncation="only_second"),
    ScoreOptions(truncation_side="left"),
    ScoreOptions(max_query_tokens=3),
    ScoreOptions(max_document_tokens=3),
    ScoreOptions(instruction="be kind"),
    ScoreOptions(instruction=""),
    ScoreOptions(highlight="sentences"),  # with it, an encoding has the characters that were read
]


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=str)
def test_every_option_that_changes_a_score_is_part_of_the_key(options: ScoreOptions) -> None:
    pair = Pair("query", "document")

    assert key_of("model", options)(pair) != key_of("model", ScoreOptions())(pair)
    assert len({key_of("model", other)(pair) for other in OTHER_OPTIONS}) == len(OTHER_OPTIONS)


def test_raw_is_not_for_the_raw_score_is_what_is_kept() -> None:
    pair = Pair("query", "document")

    assert key_of("model", ScoreOptions(raw=True))(pair) == key_of("model", ScoreOptions())(pair)


def test_how_many_documents_are_highlighted_is_not_for_it_changes_no_score() -> None:
    pair, options = Pair("query", "document"), ScoreOptions(highlight="sentences")

    for fewer in (replace(options, highlight_top=1), replace(options, highlight_threshold=0.5)):
        assert key_of("model", fewer)(pair) == key_of("model", options)(pair)


def test_another_model_has_other_keys() -> None:
    assert key_of("one", ScoreOptions())(Pair("a", "b")) != key_of("other", ScoreOptions())(Pair("a", "b"))


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_two_pairs_have_one_key_only_where_they_are_equal(query, document, other_query, other_document) -> None:
    key = key_of("model", ScoreOptions())
    pair, other = Pair(query, document), Pair(other_query, other_document)

    assert (key(pair) == key(other)) == (pair == other)
    assert (key(Pair(query + document, "")) == key(pair)) == (document == "")


@given(st.none() | st.text(max_size=6), st.none() | st.text(max_size=6), st.text(max_size=6))
def test_two_requests_that_differ_in_the_instruction_have_no_key_in_common(instruction, other, query) -> None:
    one, two = [
        {key_of("model", ScoreOptions(instruction=text))(Pair(query, document)) for document in ("", query, "document")}
        for text in (instruction, other)
    ]

    assert one == two if instruction == other else not one & two
