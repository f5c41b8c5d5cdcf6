import json
import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core import CheckpointError, InputTooLong, InvalidRequest, Pair, ScoreOptions
from rerank_core.checkpoints.sources import locate
from rerank_core.checkpoints.tokenizer_files import read_tokenizer
from rerank_core.pairs import encode_pairs
from rerank_core.text.pair_tokenizers import BiEncoderTokenizer, CrossEncoderTokenizer
from rerank_core.text.template import Template
from rerank_core.types import Encoding, TokenSequence
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer


def load_tokenizer(directory, **options):
    return read_tokenizer(directory, **options).tokenizer


TEXTS = [
    "",
    " ",
    "a",
    "what is a panda?",
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear, is endemic to China.",
    "  two  leading spaces,\ttabs\nand lines\r\n",
    "[CLS] text [SEP] that [MASK] says </s> special <s> tokens <pad>",
    "a\x00b\x01c\ufffdd",
    "\u202eright to left\u202c שלום مرحبا",
    "漢字かな交じり文。日本語",
    "😀👍🏽🇨🇭 e\u0301\u0302 ﬁne Ⅷ ｆｕｌｌ",
    "ÀÉÎÕÜ ẞ İstanbul",
    "x" * 300,
    "panda " * 100,
    "the giant panda eats bamboo, " * 30,
]
# Each text as a query and as a document, beside itself and others: shorter, longer, empty.
PAIRS = [(query, TEXTS[(place + away) % len(TEXTS)]) for place, query in enumerate(TEXTS) for away in (0, 1, 4, 8, 13)]


def unpack(sequence: TokenSequence) -> tuple[list[int], list[int]]:
    return memoryview(sequence.token_ids).cast("i").tolist(), memoryview(sequence.type_ids).cast("i").tolist()


def encode(tokenizer: CrossEncoderTokenizer, pairs, **options) -> list[Encoding]:
    return tokenizer([Pair(*pair) for pair in pairs], ScoreOptions(**options))


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "minilm-ce"])
def directory(request, tiny, shared) -> Path:
    return shared("minilm-ce") if request.param == "minilm-ce" else tiny(request.param)


@cache
def golden_tokenizer(directory: Path, side: str):
    return AutoTokenizer.from_pretrained(directory, truncation_side=side)


def golden_ids(directory: Path, pairs, *, side: str = "right", **options) -> list[tuple[list[int], list[int]]]:
    """What transformers makes of pairs. As lists: a single empty document would be taken for no document at all."""
    queries, documents = zip(*pairs, strict=True)
    encoded = golden_tokenizer(directory, side)([*queries], [*documents], return_token_type_ids=True, **options)
    return list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True))


def pair_tokenizer(directory: Path, max_length: int, **arguments) -> CrossEncoderTokenizer:
    defaults = {"truncation": "longest_first", "has_type_ids": True}
    return CrossEncoderTokenizer(load_tokenizer(directory), max_length=max_length, **defaults | arguments)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [128, 33, 8])
def test_pairs_become_the_ids_of_transformers(directory, max_length, side):
    ours = encode(pair_tokenizer(directory, max_length), PAIRS, truncation_side=side)

    golden = golden_ids(directory, PAIRS, side=side, truncation="longest_first", max_length=max_length)
    assert [unpack(encoding.sequences[0]) for encoding in ours] == golden
    uncut = golden_ids(directory, PAIRS, verbose=False)
    assert [encoding.truncated for encoding in ours] == [len(ids) > max_length for ids, _ in uncut]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [128, 33, 8])
def test_a_max_length_of_the_request_gives_the_ids_of_transformers_too(directory, max_length, side):
    ours = encode(pair_tokenizer(directory, 128), PAIRS, truncation_side=side, max_length=max_length)

    golden = golden_ids(directory, PAIRS, side=side, truncation="longest_first", max_length=max_length)
    assert [unpack(encoding.sequences[0]) for encoding in ours] == golden


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [128, 33])
def test_only_second_gives_the_ids_of_transformers_and_refuses_what_it_refuses(directory, max_length, side):
    ours = pair_tokenizer(directory, max_length)
    compared = refused = 0
    for pair in PAIRS:
        try:
            golden = golden_ids(directory, [pair], side=side, truncation="only_second", max_length=max_length)
        except Exception:  # the library has no other class for a query that leaves no room
            with pytest.raises(InputTooLong, match=r"the query has \d+ tokens"):
                encode(ours, [pair], truncation="only_second", truncation_side=side)
            refused += 1
            continue
        (encoding,) = encode(ours, [pair], truncation="only_second", truncation_side=side)
        assert [unpack(encoding.sequences[0])] == golden
        compared += 1
    assert compared > refused > 0


@given(query=st.text(max_size=60), document=st.text(max_size=200), max_length=st.integers(8, 60))
def test_any_text_becomes_the_ids_of_transformers(tiny, query, document, max_length):
    directory = tiny("bert")

    (encoding,) = encode(pair_tokenizer(directory, max_length), [(query, document)])

    golden = golden_ids(directory, [(query, document)], truncation=True, max_length=max_length)
    assert [unpack(encoding.sequences[0])] == golden


def test_the_default_models_own_vocabulary_gives_the_ids_of_its_file(shared):
    """transformers 5 rebuilds this tokenizer without the file's normaliser, so the file itself is the measure."""
    directory = shared("bge-reranker-v2-m3-shape")
    golden = Tokenizer.from_file(str(directory / "tokenizer.json"))
    golden.no_padding()
    golden.add_special_tokens(["<s>", "</s>", "<unk>", "<pad>", "<mask>"])  # named in tokenizer_config.json only
    tokenizer = load_tokenizer(directory)

    for max_length, side in [(512, "right"), (40, "right"), (40, "left")]:
        golden.enable_truncation(max_length, strategy="longest_first", direction=side)
        ours = CrossEncoderTokenizer(tokenizer, max_length=max_length, truncation="longest_first", has_type_ids=False)
        encodings = encode(ours, PAIRS, truncation_side=side)
        ids = [unpack(encoding.sequences[0])[0] for encoding in encodings]
        assert ids == [encoding.ids for encoding in golden.encode_batch(PAIRS)]
        assert all(encoding.sequences[0].type_ids == b"" for encoding in encodings)


def test_the_query_is_tokenised_once_a_request(tiny):
    class Counting:
        """A tokenizer that writes down what it is asked."""

        def __init__(self, tokenizer: Tokenizer) -> None:
            self._tokenizer = tokenizer
            self.asked: list[str] = []

        def __getattr__(self, name):
            return getattr(self._tokenizer, name)

        def encode_batch_fast(self, texts, **arguments):
            self.asked += texts
            return self._tokenizer.encode_batch_fast(texts, **arguments)

    counting = Counting(load_tokenizer(tiny("bert")))
    tokenizer = CrossEncoderTokenizer(counting, max_length=64, truncation="longest_first", has_type_ids=True)

    documents = [f"{number % 400}" for number in range(1000)]
    encode(tokenizer, [("the query", document) for document in documents])

    assert counting.asked.count("the query") == 1
    assert sorted(counting.asked) == sorted({"the query", *documents})


def test_caps_cut_each_text_first_and_leave_the_special_tokens_out(tiny):
    tokenizer = pair_tokenizer(tiny("bert"), 64)

    pair = ("what is a panda", "the giant panda eats bamboo")
    (encoding,) = encode(tokenizer, [pair], max_query_tokens=2, max_document_tokens=3)
    (shorter,) = encode(tokenizer, [("what is", "the giant panda")])

    assert encoding.sequences == shorter.sequences
    assert (encoding.truncated, shorter.truncated) == (True, False)


def test_a_pair_that_is_too_long_is_refused_by_its_place_and_its_tokens(tiny):
    tokenizer = pair_tokenizer(tiny("bert"), 10)
    fits, too_long = ("panda", "bamboo " * 6), ("panda", "bamboo " * 7)

    assert [e.truncated for e in encode(tokenizer, [fits], truncate=False)] == [False]
    with pytest.raises(InputTooLong, match="document 1 has 11 tokens together with its query, the model reads 10"):
        encode(tokenizer, [fits, too_long], truncate=False)
    # Caps come first: what they leave may fit.
    assert encode(tokenizer, [too_long], truncate=False, max_document_tokens=6)[0].truncated


def test_eight_threads_get_what_one_gets(tiny):
    tokenizer = pair_tokenizer(tiny("xlm-roberta"), 64)
    random_ = random.Random(0)
    calls = [
        (random_.sample(PAIRS, 20), {"truncation_side": side, "max_document_tokens": cap})
        for side in ("left", "right")
        for cap in (None, 1, 3, 10, 30)
    ] * 4
    serial = [encode(tokenizer, pairs, **options) for pairs, options in calls]

    with ThreadPoolExecutor(8) as threads:
        parallel = list(threads.map(lambda call: encode(tokenizer, call[0], **call[1]), calls))

    assert parallel == serial


# ---------------------------------------------------------------------------- files


@pytest.fixture
def stubborn(tiny, tmp_path) -> Path:
    """A tokenizer.json that carries truncation to 128 and fixed padding, as the lite model's does."""
    tokenizer = load_tokenizer(tiny("bert"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    assert saved["truncation"]["max_length"] == 128
    assert saved["padding"]["strategy"] == {"Fixed": 128}
    return tmp_path


def test_truncation_and_padding_in_the_file_are_cleared(stubborn, tiny):
    long = "panda " * 300
    pairs = [("panda", "bamboo"), ("panda", long)]
    wanted, ours = pair_tokenizer(tiny("bert"), 400), pair_tokenizer(stubborn, 400)

    assert [len(encoding.sequences[0]) for encoding in encode(ours, pairs)] == [5, 304]
    assert encode(ours, pairs) == encode(wanted, pairs)


def test_the_lite_models_own_file_reads_256_tokens_a_side(lite):
    saved = json.loads((locate("lite").directory / "tokenizer.json").read_text())
    assert saved["truncation"]["max_length"] == 128
    assert saved["padding"]["strategy"] == {"Fixed": 128}

    pairs = [Pair("panda", "bamboo"), Pair("panda " * 999, "bamboo " * 999)]
    short, long = encode_pairs(lite.encode, pairs, ScoreOptions())

    assert [len(sequence) for sequence in long.sequences] == [256, 256]
    assert max(len(sequence) for sequence in short.sequences) < 8
    assert (short.truncated, long.truncated) == (False, True)


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer that can be read"):
        load_tokenizer(tmp_path)


def test_a_directory_without_any_tokenizer_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json") as caught:
        load_tokenizer(tmp_path)

    assert str(tmp_path) in str(caught.value)


def test_an_older_format_is_converted(tmp_path, shared):
    whole = shared("minilm-ce")
    for name in ("vocab.txt", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())

    assert encode(pair_tokenizer(tmp_path, 512), PAIRS) == encode(pair_tokenizer(whole, 512), PAIRS)


def test_lower_case_comes_before_the_tokenizers_own_normaliser(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "panda": 1, "Panda": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert load_tokenizer(tmp_path).encode("Panda panda").ids == [2, 1]
    assert load_tokenizer(tmp_path, lowercase=True).encode("Panda panda").ids == [1, 1]


# ---------------------------------------------------------------------------- templates


def word_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "s": 1, "e": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def test_the_template_is_the_tokenizers_own():
    tokenizer = word_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="s $A e", pair="s:3 $A:1 e s $B:2 e:4", special_tokens=[("s", 1), ("e", 2)]
    )

    template = Template.of(tokenizer, texts=2)

    assert template.special_tokens == 4
    assert template.build([[7, 7], [8]]) == ([1, 7, 7, 2, 1, 8, 2], [3, 1, 1, 0, 0, 2, 4])
    assert Template.of(tokenizer, texts=1).build([[7]]) == ([1, 7, 2], [0, 0, 0])


@pytest.mark.parametrize(
    "post_processor",
    [
        processors.BertProcessing(("e", 2), ("s", 1)),
        processors.RobertaProcessing(("e", 2), ("s", 1)),
        processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True),
                processors.TemplateProcessing(pair="s $A e $B:1 e:1", special_tokens=[("s", 1), ("e", 2)]),
            ]
        ),
        processors.ByteLevel(trim_offsets=True),
    ],
    ids=["bert", "roberta", "sequence", "none"],
)
@pytest.mark.parametrize("document", ["s e e x", ""])
def test_every_kind_of_post_processor_is_laid_as_the_library_lays_it(post_processor, document):
    tokenizer = word_tokenizer()
    tokenizer.post_processor = post_processor

    ours = CrossEncoderTokenizer(tokenizer, max_length=32, truncation="longest_first", has_type_ids=True)

    golden = tokenizer.encode("x s", document)
    (encoding,) = encode(ours, [("x s", document)])
    assert unpack(encoding.sequences[0]) == (golden.ids, golden.type_ids)


def test_a_post_processor_that_turns_the_texts_round_is_refused():
    tokenizer = word_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(pair="s $B e $A", special_tokens=[("s", 1), ("e", 2)])

    with pytest.raises(CheckpointError, match=r"tokenizer\.json: its post-processor does more"):
        Template.of(tokenizer, texts=2)


def test_without_special_tokens_an_empty_pair_has_nothing_to_read():
    tokenizer = CrossEncoderTokenizer(word_tokenizer(), max_length=8, truncation="longest_first", has_type_ids=False)

    assert len(encode(tokenizer, [("a", "b c")])[0].sequences[0]) == 3
    with pytest.raises(InvalidRequest, match="document 1 has no tokens"):
        encode(tokenizer, [("", "x"), ("", "")])


def test_a_bi_encoder_reads_each_side_behind_its_prompt(tiny):
    plain = load_tokenizer(tiny("bert", "bi-encoder"))
    apart = BiEncoderTokenizer(
        plain, max_length=8, has_type_ids=True, query_prompt="query: ", document_prompt="passage: "
    )

    first, second = apart([Pair("a panda", "bamboo"), Pair("a panda", "panda " * 9)], ScoreOptions())

    assert [unpack(sequence)[0] for sequence in first.sequences] == [
        plain.encode("query: a panda").ids,
        plain.encode("passage: bamboo").ids,
    ]
    assert first.sequences[0] == second.sequences[0]
    assert (first.truncated, second.truncated, len(second.sequences[1])) == (False, True, 8)
    with pytest.raises(InputTooLong, match="document 0 has 13 tokens, the model reads 8"):
        apart([Pair("a panda", "panda " * 9)], ScoreOptions(truncate=False))
    with pytest.raises(InputTooLong, match="the query has 13 tokens, the model reads 8"):
        apart([Pair("panda " * 9, "panda")], ScoreOptions(truncate=False))
