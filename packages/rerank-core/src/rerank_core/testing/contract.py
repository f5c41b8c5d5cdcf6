"""The contract of every scorer: tests to import beside a fixture named ``scorer``.

The scorer under test must read fewer than ``LONG`` tokens, and the first four ``DOCUMENTS`` whole.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from rerank_core.errors import InputTooLong, InvalidRequest
from rerank_core.models.scoring import sigmoid
from rerank_core.ranking import rank, rerank
from rerank_core.scorer import AsyncScorer, Scorer
from rerank_core.types import ScoreOptions, Span

LONG = 1000

QUERY = "where does the giant panda live"
DOCUMENTS = [
    "The giant panda lives in the mountains of central China.",
    "Paris is the capital of France.",
    "A panda eats bamboo, and little else, for most of its day.",
    "China.",
    "Trains in Switzerland are known to be punctual, which does not happen by itself: the timetable repeats every "
    "hour, connections are planned from the passenger's point of view, and there is slack in every run.",
]
LONG_DOCUMENT = " ".join(f"word{number % 7}" for number in range(LONG))


def test_a_scorer_satisfies_the_seam(scorer: Scorer) -> None:
    assert isinstance(scorer, Scorer)


def test_scores_come_back_in_the_order_of_the_documents(scorer: Scorer) -> None:
    forwards = scorer.score(QUERY, DOCUMENTS).values
    backwards = scorer.score(QUERY, DOCUMENTS[::-1]).values

    assert forwards == backwards[::-1]
    assert len(set(forwards)) > 1


def test_a_document_scores_the_same_alone_and_in_company(scorer: Scorer) -> None:
    together = scorer.score(QUERY, DOCUMENTS).values

    assert together == tuple(scorer.score(QUERY, [document]).values[0] for document in DOCUMENTS)


def test_the_same_document_twice_scores_the_same(scorer: Scorer) -> None:
    first, _, again = scorer.score(QUERY, [DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[0]]).values

    assert first == again


def test_no_documents_is_an_empty_answer(scorer: Scorer) -> None:
    scores = scorer.score(QUERY, [])

    assert scores.values == ()
    assert scores.usage.pairs == 0
    assert rerank(scorer, QUERY, []) == []


def test_a_score_is_the_sigmoid_of_the_raw_one(scorer: Scorer) -> None:
    raw = scorer.score(QUERY, DOCUMENTS, ScoreOptions(raw=True)).values

    assert scorer.score(QUERY, DOCUMENTS).values == tuple(sigmoid(value) for value in raw)
    assert scorer.score(QUERY, DOCUMENTS, options=ScoreOptions(raw=True)).values == raw


def test_usage_counts_pairs_and_tokens(scorer: Scorer) -> None:
    short = DOCUMENTS[:4]
    one = scorer.score(QUERY, short[:1]).usage
    all_of_them = scorer.score(QUERY, short).usage

    assert (one.pairs, all_of_them.pairs) == (1, len(short))
    assert 0 < one.tokens < all_of_them.tokens
    assert all_of_them.truncated == 0


def test_a_long_document_is_cut_and_counted(scorer: Scorer) -> None:
    scores = scorer.score(QUERY, [DOCUMENTS[0], LONG_DOCUMENT])

    assert scores.usage.truncated == 1
    assert scores.usage.tokens < LONG


def test_a_long_document_is_refused_when_truncation_is_off(scorer: Scorer) -> None:
    with pytest.raises(InputTooLong, match=r"document 1 has \d+ tokens"):
        scorer.score(QUERY, [DOCUMENTS[0], LONG_DOCUMENT], ScoreOptions(truncate=False))

    with pytest.raises(InputTooLong):
        scorer.score(QUERY, [LONG_DOCUMENT], options=ScoreOptions(truncate=False))


def test_a_long_document_is_read_whole_in_windows(scorer: Scorer) -> None:
    cut = scorer.score(QUERY, [LONG_DOCUMENT])
    whole = scorer.score(QUERY, [LONG_DOCUMENT], ScoreOptions(long_documents="chunk"))

    assert (cut.usage.truncated, whole.usage.truncated) == (1, 0)
    assert whole.usage.tokens > cut.usage.tokens
    assert whole.spans is not None
    assert whole.spans[0] is not None
    assert 0 <= whole.spans[0].start < whole.spans[0].end <= len(LONG_DOCUMENT)
    assert scorer.score(QUERY, [LONG_DOCUMENT], ScoreOptions(long_documents="chunk", truncate=False)) == whole


def test_a_short_document_scores_the_same_in_windows(scorer: Scorer) -> None:
    windows = scorer.score(QUERY, DOCUMENTS[:4], ScoreOptions(long_documents="chunk"))

    assert windows.values == scorer.score(QUERY, DOCUMENTS[:4]).values
    assert windows.spans == tuple(Span(0, len(document)) for document in DOCUMENTS[:4])


def test_the_first_window_alone_is_read_where_it_is_the_score(scorer: Scorer) -> None:
    first = scorer.score(QUERY, [LONG_DOCUMENT], ScoreOptions(long_documents="chunk", chunk_score="first"))

    assert first == scorer.score(QUERY, [LONG_DOCUMENT], ScoreOptions(long_documents="chunk", max_chunks=1))
    assert first.usage.truncated == 1
    assert first.spans is not None
    assert first.spans[0] is not None
    assert first.spans[0].start == 0


def test_windows_that_do_not_reach_the_end_are_refused_when_truncation_is_off(scorer: Scorer) -> None:
    with pytest.raises(InputTooLong, match="raise max_chunks"):
        scorer.score(QUERY, [LONG_DOCUMENT], ScoreOptions(long_documents="chunk", truncate=False, max_chunks=1))


def test_a_cap_on_document_tokens_holds_for_all_windows_together(scorer: Scorer) -> None:
    document = " ".join(f"word{number}" for number in range(LONG))  # of equal windows only one would count
    whole = scorer.score(QUERY, [document], ScoreOptions(long_documents="chunk"))
    capped = scorer.score(QUERY, [document], ScoreOptions(long_documents="chunk", max_document_tokens=LONG // 2))

    assert capped.usage.tokens < whole.usage.tokens
    assert capped.usage.truncated == 1


def test_a_cap_on_document_tokens_is_the_same_as_a_shorter_document(scorer: Scorer) -> None:
    """Every tokenizer under test gives one token to each of these words."""
    short, long = "panda panda panda", "panda panda panda panda panda"

    capped = scorer.score("panda", [long], options=ScoreOptions(max_document_tokens=3))

    assert capped.values == scorer.score("panda", [short]).values
    assert capped.usage.truncated == 1


def test_the_truncation_side_decides_what_stays(scorer: Scorer) -> None:
    right = ScoreOptions(max_document_tokens=1)
    left = ScoreOptions(max_document_tokens=1, truncation_side="left")

    assert scorer.score("panda", ["panda china"], options=right).values == scorer.score("panda", ["panda"]).values
    (last,) = scorer.score("panda", ["panda china"], options=left)
    assert last in scorer.score("panda", ["china", " china"]).values  # a space may be part of the token behind it


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("", id="empty"),
        pytest.param(" \n\t", id="blank"),
        pytest.param("a\x00b", id="NUL"),
        pytest.param("\u202eright to left\u202c שלום مرحبا", id="right-to-left"),
        pytest.param("😀👍🏽🇨🇭", id="emoji"),
        pytest.param("e\u0301\u0302\u0303", id="combining"),
        pytest.param("漢字かな交じり文", id="cjk"),
        pytest.param("x" * 5000, id="one long word"),
    ],
)
def test_any_text_has_a_score(scorer: Scorer, document: str) -> None:
    (alone,) = scorer.score(QUERY, [document]).values
    (_, in_company) = scorer.score(QUERY, [DOCUMENTS[0], document]).values

    assert math.isfinite(alone)
    assert alone == in_company


def test_an_empty_query_has_scores(scorer: Scorer) -> None:
    assert len(scorer.score("", DOCUMENTS).values) == len(DOCUMENTS)


def test_an_instruction_changes_the_scores_or_is_refused(scorer: Scorer) -> None:
    plain = scorer.score(QUERY, DOCUMENTS).values

    assert _instructed(scorer, "prefer what is known of Switzerland") != plain
    assert scorer.score(QUERY, DOCUMENTS).values == plain


def _instructed(scorer: Scorer, instruction: str) -> tuple[float, ...] | None:
    """Return the scores with an instruction, None where the model takes none."""
    try:
        return scorer.score(QUERY, DOCUMENTS, ScoreOptions(instruction=instruction)).values
    except InvalidRequest as error:
        if "takes no instruction" in str(error):
            return None
        raise


def test_an_instruction_that_is_no_text_is_refused(scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match="the instruction holds a lone surrogate"):
        scorer.score(QUERY, DOCUMENTS, ScoreOptions(instruction="ab\ud800c"))


def test_a_lone_surrogate_is_refused_by_its_place(scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match=r"document 1 holds a lone surrogate \(U\+D800 at character 2\)"):
        scorer.score(QUERY, ["fine", "ab\ud800c"])
    with pytest.raises(InvalidRequest, match="the query holds a lone surrogate"):
        scorer.score("\udfff", ["fine"])


def test_what_is_not_text_is_refused(scorer: Scorer) -> None:
    with pytest.raises(InvalidRequest, match="document 1 is int, not a string"):
        scorer.score(QUERY, ["fine", 7])  # type: ignore[list-item]
    with pytest.raises(InvalidRequest, match="document 1 is float, not a string: what is missing has no score"):
        scorer.score(QUERY, ["fine", math.nan])  # type: ignore[list-item]
    with pytest.raises(InvalidRequest, match="documents is one string"):
        scorer.score(QUERY, "one string")
    with pytest.raises(InvalidRequest, match="documents is a dict, whose keys"):
        scorer.score(QUERY, dict.fromkeys(DOCUMENTS))
    with pytest.raises(InvalidRequest, match="documents is a set, which has no order"):
        scorer.score(QUERY, set(DOCUMENTS))


def test_documents_may_be_any_iterable_and_are_read_once(scorer: Scorer) -> None:
    wanted = scorer.score(QUERY, DOCUMENTS)

    assert scorer.score(QUERY, iter(DOCUMENTS)) == wanted
    assert scorer.score(QUERY, (document for document in DOCUMENTS)) == wanted
    assert scorer.score(QUERY, dict(enumerate(DOCUMENTS)).values()) == wanted
    assert scorer.score(QUERY, tuple(DOCUMENTS)) == wanted
    assert scorer.score(QUERY, iter(DOCUMENTS[:0])).values == ()
    assert rerank(scorer, QUERY, iter(DOCUMENTS)) == rank(wanted)


def test_scores_are_a_sequence_of_floats(scorer: Scorer) -> None:
    scores = scorer.score(QUERY, DOCUMENTS)

    assert len(scores) == len(DOCUMENTS)
    assert tuple(scores) == scores.values
    assert scores[0] == scores.values[0]


def test_the_best_sentences_are_parts_of_the_document_and_change_no_score(scorer: Scorer) -> None:
    document = f" {DOCUMENTS[1]} {DOCUMENTS[0]}\n{DOCUMENTS[2]}"

    plain = scorer.score(QUERY, [document, DOCUMENTS[1]])
    scores = scorer.score(QUERY, [document, DOCUMENTS[1]], ScoreOptions(highlight="sentences"))

    assert plain.sentences is None
    assert scores.values == plain.values
    assert scores.usage.tokens > plain.usage.tokens
    assert scores.sentences is not None
    found = [[document[start:end] for start, end, _ in sentences or ()] for sentences in scores.sentences[:1]]
    assert set(found[0]) == set(DOCUMENTS[:3])
    assert [sentence.score for sentence in scores.sentences[0] or ()] == list(scorer.score(QUERY, found[0]))
    (best,) = rerank(scorer, QUERY, [DOCUMENTS[1], document], top_n=1, options=ScoreOptions(highlight="sentences"))
    assert best.sentences in scores.sentences


def test_one_scorer_shared_by_eight_threads_gives_the_serial_scores(scorer: Scorer) -> None:
    """A tokenizer that is reconfigured for a call cuts other threads' texts, silently."""
    caps = [ScoreOptions(max_document_tokens=cap) for cap in (1, 2, 5, 30)] * 4
    serial = [scorer.score(QUERY, DOCUMENTS, options=options) for options in caps]

    with ThreadPoolExecutor(8) as threads:
        parallel = list(threads.map(lambda options: scorer.score(QUERY, DOCUMENTS, options=options), caps))

    assert parallel == serial


def test_ranking_is_by_score_and_ties_keep_their_order(scorer: Scorer) -> None:
    documents = [DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[1]]
    scores = scorer.score(QUERY, documents)

    ranked = rerank(scorer, QUERY, documents)

    assert ranked == rank(scores)
    assert [document.score for document in ranked] == sorted(scores.values, reverse=True)
    assert [document.index for document in ranked if document.index != 1] == [0, 2]


async def test_waiting_without_holding_the_thread_gives_the_same_scores(scorer: Scorer) -> None:
    if not isinstance(scorer, AsyncScorer):
        assert not hasattr(scorer, "ascore")
        return
    assert await scorer.ascore(QUERY, DOCUMENTS) == scorer.score(QUERY, DOCUMENTS)
    assert await scorer.ascore(QUERY, DOCUMENTS, ScoreOptions(raw=True)) == scorer.score(
        QUERY, DOCUMENTS, ScoreOptions(raw=True)
    )
    assert (await scorer.ascore(QUERY, [])).values == ()
    with pytest.raises(InputTooLong):
        await scorer.ascore(QUERY, [LONG_DOCUMENT], ScoreOptions(truncate=False))
