"""A text longer than the model reads is cut, however long it is, and scores over HTTP as it does in process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_core
from rerank_core import Pair, ScoreOptions
from rerank_integrations.client import HTTPScorer

QUERY = "where do giant pandas live"
ANSWER = "giant pandas live in the mountains of China"
LONG = [
    "The giant panda is a bear. " * 8_000,
    " " * 300_000 + ANSWER,
    "x" * 300_000,
    "大熊猫住在中国。\n" * 20_000,
    "大熊猫住在中国" * 30_000,
    f"{'9' * 300} " * 1_000 + ANSWER,
    ANSWER,
]
# The text that may not be scored is no matter of its length here; where a request cannot say so, it is cut.
ROADS: dict[str, tuple[str, Callable[[str, list[str]], dict[str, Any]]]] = {
    "/v1/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/cohere/v2/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/jina/v1/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/voyage/v1/rerank": ("data", lambda query, texts: {"query": query, "documents": texts}),
    "/infinity/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/vllm/v1/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/vllm/score": ("data", lambda query, texts: {"text_1": query, "text_2": texts}),
    "/llamacpp/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/xinference/v1/rerank": ("results", lambda query, texts: {"query": query, "documents": texts}),
    "/tei/rerank": ("", lambda query, texts: {"query": query, "texts": texts, "truncate": True}),
    "/nim/v1/ranking": (
        "rankings",
        lambda query, texts: {
            "query": {"text": query}, "passages": [{"text": text} for text in texts], "truncate": "END",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ScoreOptions(),
        ScoreOptions(truncation_side="left"),
        ScoreOptions(truncation="only_second"),
        ScoreOptions(max_document_tokens=20),
        ScoreOptions(long_documents="chunk", max_chunks=2),
    ],
)
def test_a_text_of_any_length_scores_over_http_as_in_process(
    tiny_server: Any, tiny: Path, options: ScoreOptions
) -> None:
    model = rerank_core.load(str(tiny))

    with HTTPScorer(tiny_server.url, timeout=100) as remote:
        for texts in (LONG[:4], LONG[4:]):
            assert (
                remote.score(QUERY, texts, options=options).values == model.score(QUERY, texts, options=options).values
            )
        query = "giant pandas " * 10_000
        if options.truncation is None:
            pairs = [Pair(query, "bamboo " * 20_000), Pair(query, ANSWER)]
            expected = tuple(model.score_pairs([pair], options).values[0] for pair in pairs)
            assert remote.score(query, [pair.document for pair in pairs], options=options).values == expected


def test_a_trained_model_agrees(serving: Callable[..., Any], minilm: Path) -> None:
    model = rerank_core.load(str(minilm))
    texts = [LONG[0], LONG[1], f"{ANSWER}{chr(10) * 300_000} and eat bamboo"]  # white space has no tokens here
    with serving(minilm) as server, HTTPScorer(server.url, timeout=100) as remote:
        found = remote.score(QUERY, texts)

    expected = model.score(QUERY, texts)
    assert (found.values, found.usage) == (expected.values, expected.usage)
    assert found.usage.truncated == 1


@pytest.mark.parametrize("path", ROADS)
def test_no_language_refuses_a_long_document(tiny_server: Any, path: str) -> None:
    name, body = ROADS[path]

    answer = httpx.post(tiny_server.url + path, json=body(QUERY, [LONG[0], ANSWER]), timeout=100)

    assert answer.status_code == 200, answer.text
    assert len(answer.json()[name] if name else answer.json()) == 2


def test_what_may_not_be_cut_is_refused_with_the_limit(tiny_server: Any) -> None:
    texts = ["x", "y" * 100_001]

    answer = httpx.post(
        f"{tiny_server.url}/v1/rerank", json={"query": QUERY, "documents": texts, "truncate": False}, timeout=100
    )
    pair = httpx.post(f"{tiny_server.url}/rerank", json={"query": QUERY, "passage": "y" * 10_001}, timeout=100)

    assert answer.status_code == 400
    assert "document 1 has 100001 characters, a text that may not be cut may have 100000" in answer.json()["message"]
    assert pair.status_code == 422


def test_windows_are_of_so_many_characters_and_the_answer_says_that_it_was_cut(
    serving: Callable[..., Any], tiny: Path
) -> None:
    document = "".join(f"Train {number} leaves at noon. " for number in range(200))
    options = ScoreOptions(long_documents="chunk")
    model = rerank_core.load(str(tiny))

    with serving(tiny, RERANK_MAX_TEXT_CHARS="3000") as server, HTTPScorer(server.url, timeout=100) as remote:
        found = remote.score(QUERY, [document], options=options)
        last = remote.score(QUERY, [document], options=ScoreOptions(long_documents="chunk", truncation_side="left"))

    assert found.values == model.score(QUERY, [document[:3000]], options=options).values
    assert last.values == model.score(QUERY, [document[-3000:]], options=options).values
    assert (found.usage.truncated, last.usage.truncated) == (1, 1)
    assert last.spans is not None
    assert last.spans[0] is not None
    assert last.spans[0].start >= len(document) - 3000
