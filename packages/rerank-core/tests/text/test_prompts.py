"""Prompts: what is cut of a query and of a document, and what a text may cost."""

from array import array
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rerank_core.checkpoints.recipes import RECIPES
from rerank_core.errors import InvalidRequest
from rerank_core.testing.language_models import tiny_tokenizer
from rerank_core.text.prompts import PromptTokenizer
from rerank_core.types import Encoding, Pair, ScoreOptions

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
        assert [len(sequence) for sequence in encoding.sequences] == [length] * 3
        assert all(start < end for start, end in encoding.spans)


@pytest.mark.parametrize(("family", "recipe"), [found for found in PROMPTS if RECIPES[found[1]].instructed])
def test_an_instruction_that_leaves_the_least_room_leaves_a_window_some_of_the_document(family, recipe):
    tokenizer = prompted(family, recipe)
    fits = []

    for words in range(200, 512):
        encoding, refusal = attempt(tokenizer, QUERY, DOCUMENT, instruction="a " * words, max_chunks=2)
        if encoding is None:
            assert "shorten the instruction" in refusal
            continue
        fits.append(words)
        assert [len(sequence) for sequence in encoding.sequences] == [512, 512]
    assert fits == list(range(200, 200 + len(fits))), "the shorter ones"
    assert 0 < len(fits) < 312


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
