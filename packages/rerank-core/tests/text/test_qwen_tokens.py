"""Token ids with Qwen's real vocabulary, which the wheel of qwen-agent carries: no model is needed."""

import base64
from array import array
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path

import pytest
from rerank_core.checkpoints.prompt import Prompt
from rerank_core.checkpoints.recipes import RECIPES
from rerank_core.testing.language_models import QWEN
from rerank_core.text.prompts import PromptTokenizer
from rerank_core.types import Pair, ScoreOptions
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

QUERY, DOCUMENT = "What is the capital of China?", "The capital of China is Beijing."
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END, START, CLOSE = range(151643, 151646)


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    found = find_spec("qwen_agent")
    path = Path(found.origin).parent / "utils" / "qwen.tiktoken" if found and found.origin else None
    if path is None or not path.is_file():
        pytest.skip("SKIPPED LOUDLY: needs the wheel of qwen-agent, which holds Qwen's vocabulary")
    lines = (line.split() for line in path.read_text().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


@pytest.fixture(scope="module")
def described(ranks) -> str:
    """A tokenizer.json as Qwen's: merges are read off the ranks, a token by the two parts of the lowest rank."""
    byte_of = dict(zip(_bytes(), _characters(), strict=True))

    def spelled(token: bytes) -> str:
        return "".join(byte_of[value] for value in token)

    halves = [_parts(token, ranks) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
    merges = [(spelled(parts[0]), spelled(parts[1])) for parts in halves if len(parts) == 2]
    tokenizer = Tokenizer(models.BPE({spelled(token): rank for token, rank in ranks.items()}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_special_tokens([f"<|extra_{number}|>" for number in range(151667 - 151646)])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "</think>")])
    return tokenizer.to_str()


@pytest.fixture
def tokenizer(described) -> Tokenizer:
    return Tokenizer.from_str(described)


def _bytes() -> list[int]:
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*printed, *(value for value in range(256) if value not in printed)]


def _characters() -> list[str]:
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(value) for value in [*printed, *range(256, 512 - len(printed))]]


def _parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Merge the bytes of a token by tokens of lower rank, until two are left."""
    parts = [bytes([value]) for value in token]
    while len(parts) > 2:
        pairs = [ranks.get(first + second, len(ranks)) for first, second in pairwise(parts)]
        lowest = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[lowest] >= ranks[token]:
            break
        parts[lowest : lowest + 2] = [parts[lowest] + parts[lowest + 1]]
    return parts


def prompt_tokenizer(tokenizer: Tokenizer, prompt: Prompt, max_length: int = 8192) -> PromptTokenizer:
    return PromptTokenizer(tokenizer, prompt, max_length=max_length, has_type_ids=False, shares_prefix=True)


def ids(tokenizer: PromptTokenizer, query: str, document: str, **options: str) -> tuple[list[int], int]:
    (encoding,) = tokenizer([Pair(query, document)], ScoreOptions(**options))
    (sequence,) = encoding.sequences
    return array("i", sequence.token_ids).tolist(), sequence.prefix


def test_the_prompt_of_qwen3_reranker_has_the_published_tokens(tokenizer):
    words = {word: tokenizer.encode(word).ids for word in ("yes", "no", "Yes", "No", "0", "1", "\n\n", " yes")}
    assert words == {
        "yes": [9693], "no": [2152], "Yes": [9454], "No": [2753], "0": [15], "1": [16], "\n\n": [271], " yes": [9834],
    }  # fmt: skip
    assert tokenizer.encode("?\n").ids == [5267]

    found, prefix = ids(prompt_tokenizer(tokenizer, RECIPES["qwen3-reranker"].prompt("")), QUERY, DOCUMENT)

    assert found[-9:] == [CLOSE, 198, START, 77091, 198, 151667, 271, 151668, 271]
    assert found.index(CLOSE) == 39 - 4 - 1, "<|im_end|>, a line, <|im_start|>, user, a line are the last of 39 tokens"
    tokens = [tokenizer.id_to_token(number) for number in found[39 + 21 : prefix + 1]]
    assert "".join(tokens) == "ĠWhatĠisĠtheĠcapitalĠofĠChina?Ċ<Document>:ĠThe", "a space is its word's"
    assert len(found) == prefix + 7 + 9


def test_pieces_and_the_whole_text_of_mxbai_differ_by_the_tokens_at_their_seams(tokenizer, described):
    pieces = prompt_tokenizer(tokenizer, RECIPES["mxbai-rerank-v2"].prompt(""))
    whole = prompt_tokenizer(Tokenizer.from_str(described), RECIPES["mxbai-rerank-v2-whole"].prompt(""))

    assert len(ids(pieces, "What?", "Doc.")[0]) == 88
    assert len(ids(whole, "What?", "Doc.")[0]) == 86


def test_zerank_has_thirteen_tokens_around_its_texts(tokenizer):
    found, _ = ids(prompt_tokenizer(tokenizer, RECIPES["zerank"].prompt("")), "What is 2+2?", "4")

    assert len(found) == 13 + len(tokenizer.encode("What is 2+2?").ids) + 1
    assert found[-5:] == [CLOSE, 198, START, 77091, 198]


TEXTS = ["What?", "a ", " b", "x\n", "\n\n b", "", "it's", "'s", "中国", "e\u0301", "\u0301x", "(1)", "\t", "...\n\n"]
WHOLE = ["qwen3-reranker", "qwen3-vl-reranker", "mxbai-rerank-v2-whole", "zerank", "ctxl-rerank-v2"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_prompt_in_parts_has_the_tokens_of_the_whole_text(described, name):
    prompt, plain = RECIPES[name].prompt(""), Tokenizer.from_str(described)
    layout, instruction = prompt.layout(None)
    tokenizer = prompt_tokenizer(Tokenizer.from_str(described), prompt)

    for query, document in product(TEXTS, TEXTS):
        found, prefix = ids(tokenizer, query, document)

        (text,) = layout.texts(query, document, instruction)
        encoded = plain.encode(text)
        assert found == encoded.ids
        before, _, _ = layout.texts(query, "\0", instruction)[0].partition("\0")
        whole_before = sum(end <= len(before) for _, end in encoded.offsets)
        assert found[:prefix] == plain.encode(before).ids[:prefix]
        assert whole_before - 1 <= prefix <= whole_before, "up to the last boundary that the document does not move"
