"""Prompts: what is cut of a query and of a document, and what a text may cost."""

from array import array
from bisect import bisect_left
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rerank_core.checkpoints.recipes import RECIPES
from rerank_core.errors import InvalidRequest
from rerank_core.testing.language_models import QWEN, tiny_tokenizer
from rerank_core.text.prompts import PromptTokenizer
from rerank_core.types import Encoding, Pair, ScoreOptions
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PROMPTS = [
    ("qwen3", "qwen3-reranker"),
    ("qwen3", "qwen3-vl-reranker"),
    ("qwen2", "mxbai-rerank-v2"),
    ("qwen2", "mxbai-rerank-v2-whole"),
    ("qwen3", "zerank"),
    ("qwen3", "ctxl-rerank-v2"),
    ("mistral", "ctxl-rerank-v2"),
    ("gemma", "bge-reranker-v2-gemma"),
    ("llama", "nemotron-rerank"),
]
BOS = {"gemma": "<bos>", "llama": "<|begin_of_text|>"}
every_prompt = pytest.mark.parametrize(("family", "recipe"), PROMPTS)

QUERY, DOCUMENT = "the panda " * 60, "bear " * 900


@cache
def prompted(family: str, recipe: str, **options) -> PromptTokenizer:
    prompt = RECIPES[recipe].prompt(BOS.get(family, ""))
    options = {"max_length": 512, "has_type_ids": False, "shares_prefix": True} | options
    return PromptTokenizer(tiny_tokenizer(family), prompt, **options)


def encode(tokenizer: PromptTokenizer, query: str, document: str, **options) -> Encoding:
    (encoding,) = tokenizer([Pair(query, document)], ScoreOptions(**options))
    return encoding


def attempt(*arguments, **options) -> tuple[Encoding | None, str]:
    """The encoding, or why there is none."""
    try:
        return encode(*arguments, **options), ""
    except InvalidRequest as error:
        return None, str(error)


def ids_of(encoding: Encoding) -> list[int]:
    (sequence,) = encoding.sequences
    return array("i", sequence.token_ids).tolist()


def least_length(tokenizer: PromptTokenizer) -> int:
    """The tokens of the prompt alone."""
    return len(ids_of(encode(tokenizer, "", "")))


# ---------------------------------------------------------------------------- how much is read


@every_prompt
def test_the_least_max_length_leaves_a_window_some_of_the_document(family, recipe):
    """A window without a token would have no end of windows."""
    tokenizer = prompted(family, recipe)
    least = least_length(tokenizer)

    found = {}
    for length in range(least - 4, least + 60):
        found[length], refusal = attempt(tokenizer, QUERY, DOCUMENT, max_length=length, max_chunks=3)
        assert bool(refusal) == ("max_length" in refusal)
    for length, encoding in found.items():
        if encoding is None:
            assert length < least + 8, "there is room for a query and a document"
            continue
        # A window's text may have a few tokens more in another place: then all windows are a little smaller.
        assert all(length - 4 <= len(sequence) <= length for sequence in encoding.sequences)
        assert len(encoding.sequences) == 3
        assert all(start < end for start, end in encoding.spans)


@pytest.mark.parametrize(("family", "recipe"), [found for found in PROMPTS if RECIPES[found[1]].instructed])
def test_an_instruction_that_leaves_the_least_room_leaves_a_window_some_of_the_document(family, recipe):
    tokenizer = prompted(family, recipe)

    def is_refused(words: int) -> bool:
        encoding, refusal = attempt(tokenizer, QUERY, DOCUMENT, instruction="a " * words, max_chunks=2)
        if encoding is None:
            assert "shorten the instruction" in refusal
            return True
        assert all(508 <= len(sequence) <= 512 for sequence in encoding.sequences)
        assert len(encoding.sequences) == 2
        return False

    least = 200 + bisect_left(range(200, 512), True, key=is_refused)
    assert 210 < least < 502, "some fit, and some do not"
    assert [is_refused(words) for words in range(least - 10, least + 10)] == [False] * 10 + [True] * 10


PIECES = ["中国人", "naïve ", "🦣🦣", "bamboo ", "  ", "\n\n", "\ue000", "x", "?", "'s ", " 2 + 2", "\t", "é", "="]
texts = st.lists(st.sampled_from(PIECES), max_size=120).map("".join)


@every_prompt
@settings(max_examples=60, deadline=None)
@given(
    query=texts,
    document=texts,
    room=st.integers(5, 60),
    side=st.sampled_from(["right", "left"]),
    long_documents=st.sampled_from(["truncate", "chunk"]),
    caps=st.tuples(st.none() | st.integers(1, 9), st.none() | st.integers(1, 20)),
)
def test_no_sequence_is_longer_than_max_length_and_spans_lie_in_the_document(
    family, recipe, query, document, room, side, long_documents, caps
):
    tokenizer = prompted(family, recipe)
    length = least_length(tokenizer) + room
    encoding, refusal = attempt(
        tokenizer,
        query,
        document,
        max_length=length,
        truncation_side=side,
        long_documents=long_documents,
        max_query_tokens=caps[0],
        max_document_tokens=caps[1],
        highlight="sentences",
    )
    if encoding is None:
        assert "max_length" in refusal
        return

    assert all(len(sequence) <= length for sequence in encoding.sequences)
    assert all(0 <= start <= end <= len(document) for start, end in encoding.spans)


@every_prompt
@pytest.mark.parametrize("cap", ["max_query_tokens", "max_document_tokens"])
def test_a_cap_leaves_as_many_of_the_last_tokens_whatever_the_length_of_a_text(family, recipe, cap):
    tokenizer = prompted(family, recipe)
    lengths = set()

    for words in (60, 5000):
        long = "bamboo " * words + "end"
        texts = (long, "a bear") if cap == "max_query_tokens" else ("a bear", long)
        left, right = (
            ids_of(encode(tokenizer, *texts, truncation_side=side, **{cap: 20})) for side in ("left", "right")
        )
        last = tiny_tokenizer(family).encode(long, add_special_tokens=False).ids[-20:]
        assert sum(left[start : start + 20] == last for start in range(len(left))) == 1
        lengths.add(len(left))
        assert len(left) - len(right) in {0, 1}, "a space before a text may be its first token's"
    assert len(lengths) == 1


@every_prompt
@pytest.mark.parametrize("words", [600, 2000])
def test_the_characters_of_a_document_that_is_cut_are_those_of_its_tokens(family, recipe, words):
    document = "bamboo" + " bamboo" * words
    plain = tiny_tokenizer(family)
    whole = plain.encode(document, add_special_tokens=False).ids

    encoding = encode(prompted(family, recipe), "panda", document, truncation_side="left", highlight="sentences")

    ((start, end),), ids = encoding.spans, ids_of(encoding)
    kept = max(
        count for count in range(1, 512) if any(ids[place : place + count] == whole[-count:] for place in range(512))
    )
    read = plain.encode(document[start:end], add_special_tokens=False).ids
    assert end == len(document)
    mark = int(family == "mistral")  # of the beginning of a text
    assert len(read) == kept + mark


# ---------------------------------------------------------------------------- what a text costs


class Counting:
    """A tokenizer that writes down the texts that it is asked to read."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.asked: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts, **arguments):
        self.asked += texts
        return self._tokenizer.encode_batch_fast(texts, **arguments)

    def encode(self, text, *arguments, **options):
        self.asked.append(text)
        return self._tokenizer.encode(text, *arguments, **options)


def reading(family: str, recipe: str, **options) -> tuple[PromptTokenizer, Counting]:
    counting = Counting(tiny_tokenizer(family))
    prompt = RECIPES[recipe].prompt("")
    options = {"max_length": 128, "has_type_ids": False, "shares_prefix": True} | options
    tokenizer = PromptTokenizer(counting, prompt, **options)
    counting.asked.clear()
    return tokenizer, counting


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("family", "recipe"), [("qwen3", "zerank"), ("mistral", "ctxl-rerank-v2")])
@pytest.mark.parametrize("place", ["query", "document", "instruction"])
def test_no_text_of_a_prompt_is_read_beyond_max_characters(family, recipe, place, side):
    tokenizer, counting = reading(family, recipe, max_characters=1000)
    texts = {"query": "the panda", "document": "a bear"} | {place: "first" + "panda" * 20_000 + "last"}

    _, refusal = attempt(tokenizer, **texts, truncation_side=side)

    assert bool(refusal) == (place == "instruction")
    assert max(map(len, counting.asked)) < 5000


def test_a_refused_instruction_is_not_kept():
    tokenizer, counting = reading("qwen3", "zerank")
    long = "find " * 150

    for _ in range(2):
        counting.asked.clear()
        _, refusal = attempt(tokenizer, "the panda", "a bear", instruction=long)
        assert "shorten the instruction" in refusal
        assert any("find" in text for text in counting.asked), "it is read again"
    encode(tokenizer, "the panda", "a bear", instruction="find")
    counting.asked.clear()
    encode(tokenizer, "the panda", "a bear", instruction="find")
    assert not any("find" in text for text in counting.asked)


def test_a_query_is_read_as_often_for_many_long_documents_as_for_one():
    reads = []
    for documents in (1, 9):
        tokenizer, counting = reading("qwen3", "zerank", long_documents="chunk")
        pairs = [Pair("the panda", f"{number} bears " * 300) for number in range(documents)]
        tokenizer(pairs, ScoreOptions())
        reads.append(sum("the panda" in text for text in counting.asked))
    assert reads[0] == reads[1]


@pytest.mark.parametrize(("place", "expected"), [("first", "first panda"), ("last", "panda last")])
def test_a_query_that_has_a_run_of_text_with_the_document_is_cut_at_the_side_that_is_asked_for(place, expected):
    tokenizer = prompted("mistral", "ctxl-rerank-v2")
    length = least_length(tokenizer) + 30
    side = "left" if place == "last" else "right"

    ids = ids_of(
        encode(tokenizer, "first " + "panda " * 60 + "last", "a bear", max_length=length, truncation_side=side)
    )

    text = tiny_tokenizer("mistral").decode(ids)
    assert expected in text
    assert ("first" in text, "last" in text) == (place == "first", place == "last")


def long_token_tokenizer() -> Tokenizer:
    """A tokenizer that has one token for 256 signs of equality."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    split = pre_tokenizers.Split(Regex(QWEN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["=" * 256] * 50 + ["Where does it live <Query> <Document>"] * 3, trainer)
    return tokenizer


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_prompt_stands_once_around_a_text_that_max_characters_cuts(side):
    prompt, plain = RECIPES["ctxl-rerank-v2"].prompt(""), long_token_tokenizer()
    tokenizer = PromptTokenizer(
        long_token_tokenizer(), prompt, max_length=120, has_type_ids=False, shares_prefix=True, max_characters=100
    )
    whole = plain.decode(ids_of(encode(tokenizer, "Where does it live", "")))
    before, after = whole.split(" \n")
    cut = set()

    for length in (500, *range(1000, 1300)):
        encoding = encode(tokenizer, "Where does it live", "=" * length, truncation_side=side)
        text = plain.decode(ids_of(encoding))
        assert text.replace("=", "") == f"{before} \n{after}"
        cut.add(bool(encoding.truncated))
    assert cut == {False, True}
