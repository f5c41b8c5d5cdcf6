"""The best sentences of documents: what is found, and that it changes nothing else."""

from dataclasses import replace

import pytest
import rerank_core
from rerank_core import InvalidRequest, ScoreOptions, Sentence, score_pairs
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.testing.listwise import listwise_model

QUERY = "where does the giant panda live"
FILLER = "The train leaves the old station at noon. "
ANSWER = "The giant panda lives in the mountains of China."
SENTENCES = ScoreOptions(highlight="sentences")
DOCUMENTS = [f"  {FILLER}{ANSWER} {FILLER}", "No answer here", FILLER * 3, ""]


@pytest.fixture(params=["cross-encoder", "bi-encoder", "language-model"])
def model(request, tiny_model, tmp_path):
    if request.param == "language-model":
        return language_model(tmp_path)
    return tiny_model("bert", request.param)


def language_model(directory, **options):
    write_tiny_language_model(directory, "qwen3", card="# Qwen3-Reranker-0.6B\n")
    return rerank_core.load(str(directory), device="cpu", **options)


def texts(document: str, found: tuple[Sentence, ...] | None) -> list[str]:
    return [document[start:end] for start, end, _ in found or ()]


def test_the_best_sentences_are_the_callers_own_characters_with_the_scores_they_have_alone(model):
    scores = model.score(QUERY, DOCUMENTS, SENTENCES)

    assert scores.sentences is not None
    for document, found in zip(DOCUMENTS, scores.sentences, strict=True):
        alone = model.score(QUERY, texts(document, found))
        assert [sentence.score for sentence in found or ()] == list(alone) == sorted(alone, reverse=True)
    assert sorted(texts(DOCUMENTS[0], scores.sentences[0])) == sorted([FILLER.strip(), ANSWER, FILLER.strip()])
    assert texts(DOCUMENTS[1], scores.sentences[1]) == ["No answer here"]
    assert scores.sentences[3] == ()


def test_no_score_changes_and_the_tokens_that_were_read_for_it_count(model):
    plain, marked = model.score(QUERY, DOCUMENTS), model.score(QUERY, DOCUMENTS, SENTENCES)

    assert marked.values == plain.values
    assert marked.raw_values == plain.raw_values
    assert plain.sentences is None
    assert marked.usage.tokens > plain.usage.tokens
    assert (marked.usage.pairs, marked.usage.truncated) == (plain.usage.pairs, plain.usage.truncated)


@pytest.mark.parametrize("raw", [False, True])
def test_the_sentences_scores_are_on_the_scale_of_the_documents(model, raw):
    options = ScoreOptions(highlight="sentences", raw=raw)

    scores = model.score(QUERY, [ANSWER], options)

    assert scores.sentences == ((Sentence(0, len(ANSWER), scores.values[0]),),)


@pytest.mark.parametrize("prefix", ["", "doc: "])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_of_a_document_that_is_cut_the_part_that_was_read_has_sentences(tiny, kind, side, prefix):
    model = rerank_core.load(str(tiny("bert", kind)), max_length=48)
    document = prefix + FILLER * 30 + ANSWER
    options = ScoreOptions(highlight="sentences", truncation_side=side)

    scores = model.score(QUERY, [document], options)

    assert scores.values == model.score(QUERY, [document], ScoreOptions(truncation_side=side)).values
    assert scores.spans is not None
    assert scores.spans[0] is not None
    assert scores.sentences is not None
    start, end = scores.spans[0]
    assert (start == 0) if side == "right" else (end == len(document))
    assert 20 < end - start < len(document) / 2
    assert (ANSWER in texts(document, scores.sentences[0])) == (side == "left")


@pytest.mark.parametrize("cap", [None, 9])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_the_span_of_a_document_that_is_cut_is_what_was_read_of_it(tiny, kind, side, cap):
    """Every word is one token, so that the part alone has the same tokens."""
    model = rerank_core.load(str(tiny("bert", kind)), max_length=24)
    document = "panda china china " * 3000
    options = ScoreOptions(highlight="sentences", truncation_side=side, max_document_tokens=cap)

    scores = model.score("panda", [document], options)

    assert scores.spans is not None
    assert scores.spans[0] is not None
    start, end = scores.spans[0]
    assert model.score("panda", [document[start:end]], ScoreOptions(truncate=False)).values == scores.values
    assert scores.usage.truncated == 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_span_of_what_a_language_model_reads_is_found_beside_its_prompt(tmp_path, side):
    model = language_model(tmp_path, max_length=160)
    document = "panda china china " * 100
    options = ScoreOptions(highlight="sentences", truncation_side=side)

    scores = model.score("panda", [document], options)

    assert scores.values == model.score("panda", [document], ScoreOptions(truncation_side=side)).values
    assert scores.spans is not None
    assert scores.spans[0] is not None
    start, end = scores.spans[0]
    assert 0 < end - start < len(document) / 2
    assert (start == 0) if side == "right" else (end >= len(document) - 1)
    assert scores.sentences is not None
    assert scores.sentences[0]


def test_of_a_document_in_windows_the_best_one_has_sentences():
    model = OverlapModel(max_length=40)
    document = FILLER * 20 + ANSWER + " " + FILLER * 20

    scores = model.score(QUERY, [document], ScoreOptions(highlight="sentences", long_documents="chunk"))

    assert scores.spans is not None
    assert scores.spans[0] is not None
    assert scores.sentences is not None
    assert texts(document, scores.sentences[0])[0] == ANSWER
    assert scores.spans[0].start > 0
    assert scores.values == model.score(QUERY, [document], ScoreOptions(long_documents="chunk")).values


def test_only_so_many_of_the_best_documents_are_highlighted():
    model = OverlapModel()

    scores = model.score(QUERY, DOCUMENTS, ScoreOptions(highlight="sentences", highlight_top=1))
    (best,) = rerank_core.rerank(model, QUERY, DOCUMENTS, top_n=1, options=SENTENCES)

    assert scores.sentences is not None
    assert [found is not None for found in scores.sentences] == [True, False, False, False]
    assert best.sentences == scores.sentences[0]
    assert model.forwards[-1] == len(set(texts(DOCUMENTS[0], best.sentences))), "no other document's were scored"


@pytest.mark.parametrize("raw", [False, True])
def test_only_documents_that_score_enough_are_highlighted(raw):
    model = OverlapModel()
    least = sorted(model.score(QUERY, DOCUMENTS, ScoreOptions(raw=raw)))[-2]
    options = ScoreOptions(highlight="sentences", raw=raw)

    scores = model.score(QUERY, DOCUMENTS, replace(options, highlight_threshold=least))
    ranking = rerank_core.rerank(model, QUERY, DOCUMENTS, threshold=least, options=options)

    assert scores.sentences is not None
    assert [found is not None for found in scores.sentences] == [value >= least for value in scores]
    assert [best.sentences for best in ranking] == [scores.sentences[best.index] for best in ranking]
    assert model.forwards[-1] == model.forwards[-3], "no other document's were scored"


def test_no_document_has_more_than_three():
    document = "Pandas eat. " * 2 + "Pandas live in China. Trains go. It rains. Snow falls."

    scores = OverlapModel().score(QUERY, [document], SENTENCES)

    assert scores.sentences is not None
    assert len(scores.sentences[0] or ()) == 3


@pytest.mark.parametrize("scorer", [OverlapModel(), None], ids=["query by query", "together"])
def test_pairs_keep_their_sentences_in_their_order(scorer, tiny_model):
    scorer = scorer or tiny_model("bert")
    pairs = [(QUERY, DOCUMENTS[0]), ("trains", DOCUMENTS[2]), (QUERY, DOCUMENTS[1])]

    scores = score_pairs(scorer, pairs, SENTENCES)

    assert scores.sentences == tuple(
        (scorer.score(query, [document], SENTENCES).sentences or ())[0] for query, document in pairs
    )


def test_a_model_of_whole_lists_refuses_by_its_name():
    model = listwise_model("listwise-one")

    with pytest.raises(InvalidRequest, match="listwise-one scores the documents of a query as one list"):
        model.score(QUERY, DOCUMENTS, SENTENCES)
    with pytest.raises(InvalidRequest, match="leave highlight out"):
        model.score_pairs([(QUERY, DOCUMENTS[0])], SENTENCES)


def test_no_documents_have_no_sentences(model):
    assert model.score(QUERY, [], SENTENCES).sentences == ()
