"""Only as much of a text is tokenised as can be read, and nobody can tell from the result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rerank_core
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.checkpoints.recipes import RECIPES
from rerank_core.checkpoints.tokenizer_files import read_tokenizer
from rerank_core.errors import InputTooLong, InvalidRequest, ModelError
from rerank_core.testing.language_models import LLAMA3, QWEN
from rerank_core.text.boundaries import boundaries_of
from rerank_core.text.pair_tokenizers import BiEncoderTokenizer, CrossEncoderTokenizer
from rerank_core.text.prompts import PromptTokenizer
from rerank_core.text.tokenizer import TextTokenizer
from rerank_core.types import Pair, ScoreOptions
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers


def load_tokenizer(directory, **options):
    return read_tokenizer(directory, **options).tokenizer


CORPUS = [
    "the giant panda eats bamboo, in China; it doesn't eat cubs!",
    "Der Bär schläft. 漢字かな交じり文。",
    "a b\nc\t12 3456",
]
PIECES = [
    "panda", "the", "doesn't", "schläft", "Straße.", "3456", "x" * 120, "x" * 400, "漢字かな交じり文。", "日本語",
    "שלום", "مرحبا",
    "😀👍🏽", "e\u0301", "\u0301", "ﬁne", "Ⅷ", "\u00ad", "\u200b", "\u0600", "\u2581",
    "[SEP]", "<mask>", "</s>", "'s", "'", "...", "``",
    "\x00", "\ufffd", "ｆｕｌｌ", "각", "ก็", "नमस्ते।",
]  # fmt: skip
SPACES = [
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\n\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x0b",
    "\x85",
    "",
    " " * 90,
    "\n" * 200,
]
Text = st.builds(
    lambda parts, times, lead: lead + "".join(word + space for word, space in parts) * times,
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SPACES)), max_size=10),
    st.integers(1, 40),
    st.sampled_from(["", " ", " " * 300]),
)


def trained(
    model: models.Model, trainer: trainers.Trainer, pre_tokenizer, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level(*, prefix_space: bool = False, mask: bool = False) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer = trained(models.BPE(), trainer, pre_tokenizer, normalizers.NFC())
    tokenizer.decoder = decoders.ByteLevel()
    if mask:  # as RoBERTa has it
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("</s>", rstrip=True)])
    return tokenizer


def split(pattern: str) -> Tokenizer:
    """As Qwen and Llama 3 split words off."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    return tokenizer


def unigram(pre_tokenizer, normalizer=None) -> Tokenizer:
    trainer = trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    return trained(models.Unigram(), trainer, pre_tokenizer, normalizer)


METASPACE_NORMALIZER = normalizers.Sequence(
    [normalizers.NFKC(), normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "▁")]
)
BUILT: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level, prefix space": lambda: byte_level(prefix_space=True, mask=True),
    "split, Qwen": lambda: split(QWEN),
    "split, Llama 3": lambda: split(LLAMA3),
    "metaspace": lambda: unigram(pre_tokenizers.Metaspace()),
    "metaspace, first": lambda: unigram(pre_tokenizers.Metaspace(prepend_scheme="first"), METASPACE_NORMALIZER),
    "metaspace behind white space": lambda: unigram(
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), normalizers.NFKC()
    ),
    "whitespace": lambda: unigram(pre_tokenizers.Whitespace(), normalizers.Lowercase()),
}


@pytest.fixture(scope="module", params=["bert", "minilm-ce", "bge-reranker-v2-m3-shape", *BUILT])
def tokenizer(request: pytest.FixtureRequest, tiny: Callable[..., Path], shared: Callable[[str], Path]) -> Tokenizer:
    if request.param in BUILT:
        return BUILT[request.param]()
    return load_tokenizer(tiny("bert") if request.param == "bert" else shared(request.param))


OPTIONS = [
    ScoreOptions(truncation=truncation, truncation_side=side, max_query_tokens=query, max_document_tokens=document)
    for truncation in ("longest_first", "only_second")
    for side in ("right", "left")
    for query, document in ((None, None), (3, None), (None, 5), (4, 40), (50, 60))
]
WINDOWS = [
    replace(options, long_documents="chunk", **windows)
    for options in OPTIONS
    for windows in ({}, {"max_chunks": 2}, {"chunk_score": "first"}, {"max_chunks": 3, "overlap_tokens": 0})
]


def outcome(tokenizer, pairs: list[Pair], options: ScoreOptions):
    try:
        return tokenizer(pairs, options)
    except InputTooLong:
        return "the query is too long"


@given(query=Text, document=Text, max_length=st.integers(8, 30), data=st.data())
@pytest.mark.parametrize("kind", [CrossEncoderTokenizer, BiEncoderTokenizer])
def test_a_part_of_a_text_gives_the_tokens_that_all_of_it_gives(
    tokenizer: Tokenizer, kind: type, query: str, document: str, max_length: int, data: st.DataObject
) -> None:
    made = {"max_length": max_length, "has_type_ids": False}
    if kind is CrossEncoderTokenizer:
        made["truncation"] = "longest_first"
    else:
        made |= {"query_prompt": "query: ", "document_prompt": "passage: "}
    ours, reference = kind(tokenizer, **made), kind(tokenizer, **made)
    assert ours._text_ids._boundaries is not None
    reference._text_ids._boundaries = None
    pairs = [Pair(query, document), Pair(query, query), Pair("panda", document)]
    if kind is BiEncoderTokenizer:  # one without any token is refused
        pairs = [Pair(f"q {pair.query}", f"d {pair.document}") for pair in pairs]
    for options in (data.draw(st.sampled_from(OPTIONS)), data.draw(st.sampled_from(WINDOWS))):
        for pair in pairs:
            try:
                expected = outcome(reference, [pair], options)
            except rerank_core.InvalidRequest:  # without special tokens, and without any of its own
                continue
            assert outcome(ours, [pair], options) == expected, options


@given(left=Text, right=Text, data=st.data())
def test_tokens_on_both_sides_of_a_cut_are_those_of_the_whole(
    tokenizer: Tokenizer, left: str, right: str, data: st.DataObject
) -> None:
    fixed = data.draw(st.sampled_from(["\n<Document>: ", "user\n", ">:x<", " it's a \n\n", ": query (a.b)\n"]))
    texts = TextTokenizer(tokenizer)

    for place in (texts.first_cut(fixed), texts.last_cut(fixed)):
        if place is not None:
            halves = left[:200] + fixed[:place], fixed[place:] + right[:200]
            whole, *parts = (
                tokenizer.encode(text, add_special_tokens=False).ids for text in ("".join(halves), *halves)
            )
            assert [number for part in parts for number in part] == whole


class Counting:
    """A tokenizer that counts the characters that it is asked to read."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str):
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts, **arguments):
        self.characters += sum(map(len, texts))
        return self._tokenizer.encode_batch_fast(texts, **arguments)

    def encode(self, text, *arguments, **options):
        self.characters += len(text)
        return self._tokenizer.encode(text, *arguments, **options)


def reading(tokenizer: Tokenizer, **options) -> tuple[CrossEncoderTokenizer, Counting]:
    counting = Counting(tokenizer)
    ours = CrossEncoderTokenizer(counting, max_length=64, truncation="longest_first", has_type_ids=False, **options)
    counting.characters = 0
    return ours, counting


@pytest.mark.parametrize(
    "options",
    [
        ScoreOptions(),
        ScoreOptions(truncation_side="left"),
        ScoreOptions(truncation="only_second"),
        ScoreOptions(max_document_tokens=20),
        ScoreOptions(max_chunks=1),
        ScoreOptions(long_documents="chunk", chunk_score="first"),
    ],
)
@pytest.mark.parametrize("lead", ["", " " * 1_000_000])
def test_a_document_of_any_length_costs_no_more_than_what_is_read_of_it(tiny, options: ScoreOptions, lead: str) -> None:
    tokenizer, counting = reading(load_tokenizer(tiny("bert")))
    document = lead + "the giant panda eats bamboo, " * 50_000

    (encoding,) = tokenizer([Pair("panda", document)], options)

    assert counting.characters < 3000 + (2 * len(lead) if options.windows("truncate") else 0)
    assert encoding.truncated


def test_a_chinese_document_without_white_space_is_read_as_far_as_it_goes(tiny) -> None:
    tokenizer, counting = reading(load_tokenizer(tiny("bert")))

    (encoding,) = tokenizer([Pair("panda", "大熊猫住在中国" * 30_000)], ScoreOptions())

    assert counting.characters < 3000
    assert encoding.truncated


def test_two_long_texts_are_read_until_it_is_known_which_is_longer(tiny) -> None:
    tokenizer, counting = reading(load_tokenizer(tiny("bert")))
    assert (64 - tokenizer.template.special_tokens) % 2, "an odd token is left"
    longer, shorter = "panda " * 3000, "panda " * 2990

    (one,) = tokenizer([Pair(longer, shorter)], ScoreOptions())
    (other,) = tokenizer([Pair(shorter, longer)], ScoreOptions())
    read = counting.characters
    tokenizer([Pair("panda " * 100, "panda " * 1_000_000)], ScoreOptions())

    assert one.sequences[0].token_ids != other.sequences[0].token_ids
    assert counting.characters - read < 10_000


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_without_any_boundary_is_read_up_to_the_bound_where_there_is_one(tiny, side) -> None:
    bounded, counting = reading(load_tokenizer(tiny("bert")), max_characters=2000)
    unbounded, all_of_it = reading(load_tokenizer(tiny("bert")))
    pairs = [Pair("panda", "x" * 100_000)]
    options = ScoreOptions(truncation_side=side)

    (cut,), (whole,) = bounded(pairs, options), unbounded(pairs, options)

    assert cut.sequences == whole.sequences
    assert counting.characters < 5000 < all_of_it.characters
    assert cut.truncated


def test_no_bound_cuts_what_may_not_be_cut(tiny) -> None:
    tokenizer, _ = reading(load_tokenizer(tiny("bert")), max_characters=100)
    document = "x" * 500

    assert not tokenizer([Pair("panda", document)], ScoreOptions(truncate=False))[0].truncated
    with pytest.raises(InputTooLong, match="document 0 has 1004 tokens together"):
        tokenizer([Pair("panda", "bamboo " * 1000)], ScoreOptions(truncate=False))


@pytest.mark.parametrize("side", ["right", "left"])
def test_windows_are_of_the_first_characters_up_to_the_bound_or_the_last(tiny, side) -> None:
    bounded, _ = reading(load_tokenizer(tiny("bert")), max_characters=5000)
    unbounded, _ = reading(load_tokenizer(tiny("bert")))
    document = "".join(f"Train {number} leaves at noon. " for number in range(400))
    options = ScoreOptions(long_documents="chunk", truncation_side=side)
    kept, shift = (document[:5000], 0) if side == "right" else (document[-5000:], len(document) - 5000)

    (found,) = bounded([Pair("train", document)], options)
    (expected,) = unbounded([Pair("train", kept)], options)

    assert found.sequences == expected.sequences
    assert found.spans == tuple((start + shift, end + shift) for start, end in expected.spans)
    assert (found.truncated, expected.truncated) == (True, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Punctuation()),
        lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Metaspace(split=False)),
        lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Split(Regex("a b|."), "isolated")),
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.Replace(Regex("a +b"), "c")),
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.Replace(" ", "")),
        lambda tokenizer: tokenizer.add_tokens([AddedToken("giant panda")]),
        lambda tokenizer: setattr(tokenizer, "model", models.BPE({"a": 0}, [], dropout=0.1)),
    ],
)
def test_a_tokenizer_that_may_join_words_reads_each_text_whole(tiny, change: Callable[[Tokenizer], object]) -> None:
    tokenizer = load_tokenizer(tiny("bert"))
    assert boundaries_of(tokenizer) is not None
    change(tokenizer)

    assert boundaries_of(tokenizer) is None


def test_a_query_that_leaves_no_room_is_refused_without_reading_all_of_it(tiny) -> None:
    tokenizer, counting = reading(load_tokenizer(tiny("bert")))

    with pytest.raises(InputTooLong, match=r"the query has \d+ tokens or more and the model reads 61"):
        tokenizer([Pair("panda " * 1_000_000, "bamboo")], ScoreOptions(truncation="only_second"))

    assert counting.characters < 3000


def test_a_prompt_that_fills_the_window_is_an_error_and_no_endless_search(tiny) -> None:
    tokenizer = BiEncoderTokenizer(
        load_tokenizer(tiny("bert")), max_length=8, has_type_ids=False, document_prompt="panda " * 9
    )

    with pytest.raises(InvalidRequest, match=r"6 tokens .* the prompt .* has 9: raise max_length"):
        tokenizer([Pair("panda", "panda " * 50)], ScoreOptions(long_documents="chunk"))


class PanicException(BaseException):
    """As a panic in Rust comes to Python: no Exception."""


@pytest.mark.parametrize("failure", [PanicException, MemoryError, RecursionError, RuntimeError])
@pytest.mark.parametrize("options", [ScoreOptions(), ScoreOptions(long_documents="chunk")])
def test_a_tokenizer_that_fails_is_a_model_error_without_the_text(tiny, failure, options) -> None:
    class Failing(Counting):
        fails = False

        def encode_batch_fast(self, texts, **arguments):
            if self.fails and options.long_documents is None:
                raise failure(texts[0])
            return super().encode_batch_fast(texts, **arguments)

        def encode(self, text, *arguments, **kwargs):
            if self.fails:
                raise failure(text)
            return super().encode(text, *arguments, **kwargs)

    failing = Failing(load_tokenizer(tiny("bert")))
    tokenizer = CrossEncoderTokenizer(failing, max_length=16, truncation="longest_first", has_type_ids=False)
    failing.fails = True

    with pytest.raises(ModelError, match=f"the tokenizer failed on . texts .*{failure.__name__}") as caught:
        tokenizer([Pair("secret", "secret " * 60)], options)

    assert "secret" not in str(caught.value)


def test_a_tokenizer_that_panics_is_a_model_error() -> None:
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")

    with pytest.raises(ModelError, match="the tokenizer failed"):
        TextTokenizer(tokenizer)({"x" * 2000: None})


@pytest.mark.parametrize("options", [ScoreOptions(), ScoreOptions(truncation_side="left"), ScoreOptions(max_chunks=1)])
@pytest.mark.parametrize("lead", ["", " " * 100_000])
def test_a_document_in_a_prompt_costs_no_more_than_what_is_read_of_it(options: ScoreOptions, lead: str) -> None:
    prompt = RECIPES["mxbai-rerank-v2-whole"].prompt("")
    tokenizer = split(QWEN)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    ours = PromptTokenizer(
        tokenizer, prompt, max_length=900, has_type_ids=False, shares_prefix=True, max_characters=10_000
    )
    ours._text_ids._tokenizer = counting = Counting(tokenizer)
    document = lead + "the giant panda eats bamboo, " * 50_000

    (encoding,) = ours([Pair("panda", document)], options)

    assert len(encoding.sequences[0]) == 900
    assert encoding.truncated == 1
    assert counting.characters < 40_000
