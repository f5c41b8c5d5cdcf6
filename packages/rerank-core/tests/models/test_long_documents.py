"""Long documents, scored whole: windows of real tokenizers, and the scores of real networks."""

import unicodedata
from itertools import pairwise

import pytest
import rerank_core
from rerank_core import InputTooLong, InvalidRequest, ScoreOptions, Span
from rerank_core.checkpoints.tokenizer_files import read_tokenizer
from rerank_core.models.scoring import sigmoid
from rerank_core.ranking import rank
from rerank_core.testing.doubles import OverlapModel
from rerank_core.text.tokenizer import TextTokenizer


def load_tokenizer(directory, **options):
    return read_tokenizer(directory, **options).tokenizer


CHUNK = ScoreOptions(long_documents="chunk")
QUERY = "where does the giant panda live"
FILLER = "The train leaves the old station at noon. "
ANSWER = "The giant panda lives in the mountains of China."

TEXTS = {
    "latin": "The giant panda is a bear. It lives in China! Does it eat meat? ",
    "chinese": "大熊猫是一种熊。它生活在中国！它吃肉吗？",
    "arabic": "الباندا العملاقة دب يعيش في الصين. هل يأكل اللحم؟ نعم. ",
    "emoji": "👩‍👩‍👧‍👦 family 🐼 pandas 🇨🇳 yes. 👍🏽 ok! ",
    "combining marks": "Cafe\u0301 nai\u0308ve A\u030angstro\u0308m. ",
    "what NFKC changes": "ﬁne ﬂour ㎏ Ⅳ ①② ｆｕｌｌｗｉｄｔｈ ½ … ",
    "thai": "แพนด้ายักษ์เป็นหมีชนิดหนึ่ง อาศัยอยู่ในประเทศจีน ",
    "hangul, composed and not": "자이언트 판다는 곰이다. \u1112\u1161\u11ab\u1100\u1173\u11af 중국에 산다. ",
    "white space": "One\n\n\nTwo\t\tthree   four.\r\n",
}


@pytest.fixture(scope="module")
def default_tokenizer(shared):
    """The default model's own: reading it takes a second."""
    return load_tokenizer(shared("bge-reranker-v2-m3-shape"))


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "minilm-ce", "default"])
def tokenizer(request, tiny, shared):
    """Of the two families, tiny and as they are in real checkpoints."""
    name = request.param
    if name == "default":
        return request.getfixturevalue("default_tokenizer")
    return load_tokenizer(shared(name) if name == "minilm-ce" else tiny(name))


@pytest.mark.parametrize("name", TEXTS)
def test_the_windows_spans_cover_a_document_of_any_script(tokenizer, name) -> None:
    document = (TEXTS[name] * 40).strip()

    found = TextTokenizer(tokenizer).windows_of(document, 24, CHUNK)
    chunks, loses = found.found, found.loses

    spans = [chunk.span for chunk in chunks]
    assert not loses
    assert len(spans) > 1
    assert (spans[0].start, spans[-1].end) == (0, len(document))
    assert all(one.start < other.start <= one.end < other.end for one, other in pairwise(spans))


@pytest.mark.parametrize("name", TEXTS)
def test_a_span_is_where_the_tokens_come_from(default_tokenizer, name) -> None:
    """What the tokens say, put together again, is the span's text as the tokenizer normalises it."""
    tokenizer = default_tokenizer
    document = (TEXTS[name] * 40).strip()
    unknown = tokenizer.token_to_id("<unk>")

    chunks = TextTokenizer(tokenizer).windows_of(document, 64, CHUNK).found

    for chunk in chunks:
        if unknown in chunk.ids:
            continue
        said = "".join(tokenizer.decode(chunk.ids).replace("▁", " ").split())
        text = "".join(unicodedata.normalize("NFKC", document[chunk.span.start : chunk.span.end]).split())
        assert said == text


@pytest.fixture(scope="module", params=["cross-encoder", "bi-encoder"])
def model(request, tiny):
    """Both kinds, with a window of 64 tokens."""
    name = "lite" if request.param == "bi-encoder" else str(tiny("bert"))
    return rerank_core.load(name, max_length=64, device="cpu")


def test_a_long_document_has_the_score_of_its_windows_each_alone_to_the_bit(model) -> None:
    document = FILLER * 20 + ANSWER + FILLER * 20
    (encoding,) = model.encode(QUERY, [document], CHUNK)
    alone = [model.forward([sequence])[0] for sequence in encoding.sequences]

    (found,) = rank(model.score(QUERY, [document], options=CHUNK))

    (scored,) = model.scores(encoding, alone, CHUNK)
    assert (found.score, found.span) == (sigmoid(scored.raw), scored.span)


@pytest.mark.parametrize("family", ["modernbert", "xlm-roberta-xl", "bert-relative", "deberta-v2-convolution"])
def test_so_it_has_in_every_family(tiny_model, family) -> None:
    model = tiny_model(family)
    document = FILLER * 60 + ANSWER + FILLER * 20
    (encoding,) = model.encode(QUERY, [document], CHUNK)
    alone = [model.forward([sequence])[0] for sequence in encoding.sequences]

    together = model.score(QUERY, [FILLER, document, ANSWER], options=CHUNK)

    (scored,) = model.scores(encoding, alone, CHUNK)
    assert len(alone) > 3
    assert together.values[1] == sigmoid(scored.raw)


def test_a_window_of_whole_words_scores_as_its_text_alone() -> None:
    model = rerank_core.load("lite", max_length=64, device="cpu")
    document = FILLER * 20 + ANSWER + FILLER * 20

    (found,) = rank(model.score(QUERY, [document], options=CHUNK))
    window = document[found.span.start : found.span.end]

    assert found.score == model.score(QUERY, [window]).values[0] > model.score(QUERY, [document]).values[0]


def test_the_answer_is_found_wherever_it_stands() -> None:
    model = rerank_core.load("lite", max_length=64, device="cpu")
    for place in (0, 10, 25, 40):
        document = FILLER * place + ANSWER + FILLER * (40 - place)

        (found,) = rank(model.score(QUERY, [document], options=CHUNK))

        assert ANSWER in document[found.span.start : found.span.end]


def test_a_short_document_scores_the_same_in_both_modes_to_the_bit(model) -> None:
    documents = [ANSWER, FILLER, "x", ""]

    whole = model.score(QUERY, documents, options=CHUNK)

    assert whole.values == model.score(QUERY, documents).values
    assert whole.spans == tuple(Span(0, len(document)) for document in documents)


def test_a_document_scores_the_same_among_others(model) -> None:
    documents = [FILLER * 30 + ANSWER, FILLER * 50, ANSWER, "word " * 500]

    together = model.score(QUERY, documents, options=CHUNK).values

    assert together == tuple(model.score(QUERY, [document], options=CHUNK).values[0] for document in documents)


def test_nothing_is_cut_but_what_is_asked_for(model) -> None:
    document = FILLER * 40
    usage = [
        model.score(QUERY, [document], options=ScoreOptions(long_documents="chunk", max_chunks=count)).usage
        for count in (None, 2, 1)
    ]

    assert [each.truncated for each in usage] == [0, 1, 1]
    assert usage[0].tokens > usage[1].tokens > usage[2].tokens


def test_what_does_not_fit_into_the_windows_is_refused_where_nothing_may_be_cut(model) -> None:
    options = ScoreOptions(long_documents="chunk", truncate=False)

    assert model.score(QUERY, [FILLER * 40], options=options).usage.truncated == 0
    with pytest.raises(InputTooLong, match=r"document 0 .*max_chunks"):
        model.score(QUERY, [FILLER * 40], options=ScoreOptions(long_documents="chunk", truncate=False, max_chunks=2))


def test_a_long_query_leaves_room_for_the_document(tiny) -> None:
    model = rerank_core.load(str(tiny("xlm-roberta")), max_length=64, device="cpu")

    scores = model.score("where " * 500, [FILLER * 20, "short"], options=CHUNK)

    assert scores.usage.truncated == 2
    assert scores.spans is not None
    assert scores.spans[0] != Span(0, len(FILLER * 20))
    assert scores.spans[1] == Span(0, 5)


def test_a_cap_on_a_document_holds_for_all_of_its_windows(model) -> None:
    document = " ".join(f"Train {number} leaves at noon." for number in range(60))
    capped = ScoreOptions(long_documents="chunk", max_document_tokens=150)

    scores = model.score(QUERY, [document], options=capped)

    assert scores.usage.truncated == 1
    assert scores.usage.tokens < model.score(QUERY, [document], options=CHUNK).usage.tokens


@pytest.mark.parametrize("wrong", [{"overlap_tokens": -1}, {"max_chunks": 0}, {"best_chunks": 0}])
def test_options_that_cannot_be_are_refused(wrong) -> None:
    with pytest.raises(InvalidRequest, match=f"{next(iter(wrong))} is .*: use at least"):
        ScoreOptions(**wrong)


def test_the_double_does_as_a_model_does() -> None:
    model = OverlapModel(max_length=32)
    document = FILLER * 10 + ANSWER + FILLER * 10

    (found,) = rank(model.score(QUERY, [document], options=CHUNK))

    assert ANSWER in document[found.span.start : found.span.end]
    assert model.score(QUERY, [ANSWER], options=CHUNK).values == model.score(QUERY, [ANSWER]).values
