import asyncio
import copy
import gc
import inspect
import io
import json
import pickle
import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rerank_core.errors import (
    CheckpointError,
    DeadlineExceeded,
    EngineError,
    InputTooLong,
    InvalidRequest,
    MissingExtra,
    ModelError,
    Overloaded,
    RerankError,
    TooManyDocuments,
    Unauthorized,
    Unavailable,
)
from rerank_core.scorer import AsyncScorer, Scorer
from rerank_core.testing.contract import DOCUMENTS, LONG_DOCUMENT, QUERY
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions, Scores
from rerank_integrations.client import HTTPScorer

Seen = list[dict[str, Any]]


@pytest.fixture
def scorer(url: str) -> Iterator[HTTPScorer]:
    with HTTPScorer(url) as scorer:
        yield scorer


def questions(seen: Seen) -> list[list[str]]:
    return [asked["body"]["documents"] for asked in seen if asked["path"] == "/v1/rerank"]


def test_it_is_both_kinds_of_scorer(scorer: HTTPScorer) -> None:
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, AsyncScorer)


@pytest.mark.parametrize("raw", [False, True])
def test_scores_are_those_of_the_model_behind_the_server(scorer: HTTPScorer, overlap: OverlapModel, raw: bool) -> None:
    assert scorer.score(QUERY, DOCUMENTS, ScoreOptions(raw=raw)) == overlap.score(
        QUERY, DOCUMENTS, ScoreOptions(raw=raw)
    )


async def test_a_list_beyond_the_limit_goes_in_parts_and_comes_back_whole(
    scorer: HTTPScorer, overlap: OverlapModel, info: dict[str, Any], seen: Seen
) -> None:
    info["max_client_batch_size"] = 2
    documents = [*DOCUMENTS, LONG_DOCUMENT]

    assert scorer.score(QUERY, documents) == overlap.score(QUERY, documents)
    assert await scorer.ascore(QUERY, documents) == overlap.score(QUERY, documents)
    assert questions(seen) == [documents[:2], documents[2:4], documents[4:]] * 2


def test_a_list_too_large_for_one_body_goes_in_parts(
    scorer: HTTPScorer, overlap: OverlapModel, info: dict[str, Any], seen: Seen
) -> None:
    info["max_body_bytes"] = 400

    assert scorer.score(QUERY, DOCUMENTS).values == overlap.score(QUERY, DOCUMENTS).values
    assert len(questions(seen)) > 1


def test_an_error_about_a_part_says_which_part(scorer: HTTPScorer, info: dict[str, Any]) -> None:
    info["max_client_batch_size"] = 2

    with pytest.raises(InputTooLong, match=r"document 1 has .*\(in the part with documents 2 to 3, numbered from 0\)"):
        scorer.score(QUERY, [*DOCUMENTS[:3], LONG_DOCUMENT, "after"], ScoreOptions(truncate=False))


async def test_what_cannot_be_scored_is_refused_before_anything_is_asked(scorer: HTTPScorer, seen: Seen) -> None:
    with pytest.raises(InvalidRequest):
        scorer.score(QUERY, ["\ud800"])
    with pytest.raises(InvalidRequest):
        await scorer.ascore(QUERY, "one string")

    assert seen == []


async def test_no_documents_asks_for_no_scores(scorer: HTTPScorer, seen: Seen) -> None:
    assert scorer.score(QUERY, []).model == "overlap"
    assert (await scorer.ascore(QUERY, [])).values == ()
    assert questions(seen) == []


async def test_the_limits_are_asked_for_at_the_start_and_never_again(scorer: HTTPScorer, seen: Seen) -> None:
    scorer.score(QUERY, DOCUMENTS)
    assert [asked["path"] for asked in seen] == ["/info", "/v1/rerank"]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: scorer.score(QUERY, DOCUMENTS[:1]), range(16)))
    await asyncio.gather(*(scorer.ascore(QUERY, DOCUMENTS[:1]) for _ in range(8)))

    assert [asked["path"] for asked in seen[1:]] == ["/v1/rerank"] * 25


async def test_connections_are_used_again(scorer: HTTPScorer, seen: Seen) -> None:
    for _ in range(3):
        scorer.score(QUERY, DOCUMENTS)
    assert len({asked["connection"] for asked in seen}) == 1

    seen.clear()
    for _ in range(3):
        await scorer.ascore(QUERY, DOCUMENTS)
    assert len({asked["connection"] for asked in seen}) == 1


@pytest.mark.parametrize(
    "error",
    [
        RerankError("no"),
        InvalidRequest("no"),
        Unauthorized("no"),
        InputTooLong("no"),
        TooManyDocuments("no"),
        Unavailable("no"),
        Unavailable("no", retry_after=2.0),
        Overloaded("no", retry_after=1.0),
        DeadlineExceeded("no"),
        ModelError("no"),
        CheckpointError("no"),
        EngineError("no"),
        MissingExtra("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_comes_through_the_wire_as_the_same_class(
    url: str, script: deque[Any], error: RerankError
) -> None:
    script.extend([error, error])

    with HTTPScorer(url, max_retries=0) as scorer:
        with pytest.raises(RerankError) as caught:
            scorer.score(QUERY, DOCUMENTS)
        with pytest.raises(RerankError) as acaught:
            await scorer.ascore(QUERY, DOCUMENTS)

    for raised in (caught.value, acaught.value):
        assert type(raised) is type(error)
        assert str(raised) == "no"
        assert getattr(raised, "retry_after", None) == getattr(error, "retry_after", None)


async def test_an_incomplete_answer_is_never_a_result(scorer: HTTPScorer, script: deque[Any]) -> None:
    usage = {"total_tokens": 1, "truncated": 0}
    incomplete = {"model": "overlap", "usage": usage, "results": [{"index": 1, "relevance_score": 0.5}]}
    script.extend([(200, {}, json.dumps(incomplete).encode())] * 2)

    with pytest.raises(ModelError, match="1 scores for 2 documents: none for document 0"):
        scorer.score(QUERY, DOCUMENTS[:2])
    with pytest.raises(ModelError):
        await scorer.ascore(QUERY, DOCUMENTS[:2])


async def test_a_server_that_is_not_there_is_unavailable(closed_url: str) -> None:
    with HTTPScorer(closed_url, max_retries=0) as scorer:
        with pytest.raises(Unavailable, match=f"{closed_url} cannot be reached .*is rerank-server running there"):
            scorer.score(QUERY, DOCUMENTS)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await scorer.ascore(QUERY, DOCUMENTS)


async def test_a_server_that_does_not_answer_in_time_is_past_the_deadline(silent_url: str) -> None:
    with HTTPScorer(silent_url, timeout=0.05) as scorer:
        with pytest.raises(DeadlineExceeded, match=f"GET {silent_url}/info was not answered within 0.05 s"):
            scorer.score(QUERY, DOCUMENTS)
        with pytest.raises(DeadlineExceeded):
            await scorer.ascore(QUERY, DOCUMENTS)


async def test_a_connection_that_breaks_off_is_unavailable(url: str, script: deque[Any]) -> None:
    script.extend([None] * 3)

    with HTTPScorer(url, max_retries=0) as scorer:
        with pytest.raises(Unavailable, match=r"/v1/rerank was cut off .*ask again"):
            scorer.score(QUERY, DOCUMENTS)
        with pytest.raises(Unavailable):
            await scorer.ascore(QUERY, DOCUMENTS)

        assert len(scorer.score(QUERY, DOCUMENTS).values) == len(DOCUMENTS)


async def test_a_connection_that_the_server_had_closed_while_it_was_idle_loses_no_request(
    url: str, script: deque[Any], seen: Seen
) -> None:
    """The request meets the closing door: it is made again at once, on a new connection, and is no failure."""
    with HTTPScorer(url, max_retries=0) as scorer:
        expected = scorer.score(QUERY, DOCUMENTS)
        await scorer.ascore(QUERY, DOCUMENTS)
        seen.clear()
        script.append(None)
        assert scorer.score(QUERY, DOCUMENTS) == expected
        script.append(None)
        assert await scorer.ascore(QUERY, DOCUMENTS) == expected

        assert len({asked["connection"] for asked in seen}) == 4


def test_a_server_that_was_away_is_asked_for_its_limits_again(scorer: HTTPScorer, info: dict[str, Any]) -> None:
    model = info.pop("model_id")
    with pytest.raises(ModelError):
        scorer.score(QUERY, DOCUMENTS)

    info["model_id"] = model

    assert len(scorer.score(QUERY, DOCUMENTS).values) == len(DOCUMENTS)


@pytest.mark.parametrize("key", ["secret-key", " secret-key\n"])
async def test_the_key_is_sent_and_never_shown(url: str, seen: Seen, script: deque[Any], key: str) -> None:
    script.append((401, {}, b""))
    async with HTTPScorer(url, api_key=key) as scorer:
        with pytest.raises(Unauthorized, match="check the API key") as caught:
            await scorer.ascore(QUERY, DOCUMENTS)
        await scorer.ascore(QUERY, DOCUMENTS)

        assert "secret" not in repr(scorer) + str(scorer) + str(caught.value)
    assert {asked["authorization"] for asked in seen} == {"Bearer secret-key"}


@pytest.mark.parametrize("key", [None, "", "\n"])
def test_without_a_key_none_is_sent(url: str, seen: Seen, key: str | None) -> None:
    with HTTPScorer(url, api_key=key) as scorer:
        scorer.score(QUERY, DOCUMENTS)

    assert {asked["authorization"] for asked in seen} == {None}


@pytest.mark.parametrize("key", ["se cret", "secrét", "se\ncret"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidRequest, match="api_key holds") as caught:
        HTTPScorer("http://localhost:8000", api_key=key)

    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "http://", "ftp://localhost", "http://h/?a=b", "http://h:port"]
)
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(InvalidRequest, match="base_url"):
        HTTPScorer(address)


@pytest.mark.parametrize("address", ["localhost:8000", "rerank", "10.0.0.7:8000/ranking/"])
def test_an_address_without_a_scheme_is_named_with_one(address: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"use http://{address.rstrip('/')}") + "$"):
        HTTPScorer(address)


@pytest.mark.parametrize("address", ["localhost:8000/v1/rerank", "localhost:8000/playground"])
def test_an_address_without_a_scheme_is_named_without_its_route(address: str) -> None:
    with pytest.raises(InvalidRequest, match=r"use http://localhost:8000$"):
        HTTPScorer(address)


@pytest.mark.parametrize("prefix", ["", "/ranking", "/api"])
@pytest.mark.parametrize(
    "route", ["/rerank", "/v1/rerank", "/v2/rerank", "/rerank/batch", "/v1/rerank/batch", "/v1/ranking", "/score"]
)
def test_an_address_that_ends_in_a_route_is_named_without_it(prefix: str, route: str) -> None:
    way_out = f"ends in the route {route}: use http://h:8000{prefix} (or "
    with pytest.raises(InvalidRequest, match=re.escape(way_out)):
        HTTPScorer(f"http://me:secret@h:8000{prefix}{route}")


@pytest.mark.parametrize("path", ["/v1", "/docs", "/health", "/playground", "/openapi.json", "/metrics", "/v1/models"])
def test_an_address_that_is_a_route_is_named_without_it(path: str) -> None:
    with pytest.raises(InvalidRequest, match="use http://h "):
        HTTPScorer(f"http://h{path}")


@pytest.mark.parametrize("address", ["http://h/ranking", "http://h/api/v1", "http://h/reranker", "http://rerank"])
def test_a_prefix_is_no_route(address: str) -> None:
    assert HTTPScorer(address).base_url == address


def test_a_prefix_that_is_called_like_a_route_is_taken_with_a_slash_and_kept() -> None:
    scorer = HTTPScorer("http://me:secret@h/rerank/")

    assert scorer.base_url == "http://h/rerank"
    assert copy.copy(scorer).base_url == pickle.loads(pickle.dumps(scorer)).base_url == scorer.base_url
    assert HTTPScorer(scorer.configuration()["url"]).base_url == scorer.base_url


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_lets_nothing_through_is_refused_at_once(timeout: float) -> None:
    with pytest.raises(InvalidRequest, match=f"timeout is {timeout}"):
        HTTPScorer("http://localhost:8000", timeout=timeout)


async def test_a_password_in_the_address_is_used_and_never_shown(url: str, seen: Seen, script: deque[Any]) -> None:
    script.append((500, {}, b""))
    with HTTPScorer(url.replace("//", "//me:secret@") + "/") as scorer:
        with pytest.raises(ModelError, match=url) as caught:
            scorer.score(QUERY, DOCUMENTS)
        scorer.score(QUERY, DOCUMENTS)

        assert scorer.base_url == url
        assert "secret" not in repr(scorer) + str(caught.value)
    assert seen[0]["authorization"].startswith("Basic ")


@pytest.mark.parametrize("again", [copy.deepcopy, lambda scorer: pickle.loads(pickle.dumps(scorer))])
async def test_a_copy_has_its_own_connections_and_the_same_scores(scorer: HTTPScorer, again: Any) -> None:
    expected = scorer.score(QUERY, DOCUMENTS)
    assert await scorer.ascore(QUERY, DOCUMENTS) == expected

    async with again(scorer) as other:
        assert other.base_url == scorer.base_url
        assert other.score(QUERY, DOCUMENTS) == expected
        assert await other.ascore(QUERY, DOCUMENTS) == expected


def test_one_scorer_serves_one_event_loop_after_another(url: str, seen: Seen) -> None:
    """Connections are closed with their loop: warnings are errors here, those about open sockets too."""
    with HTTPScorer(url) as scorer:
        first = asyncio.run(scorer.ascore(QUERY, DOCUMENTS))
        second = asyncio.run(scorer.ascore(QUERY, DOCUMENTS))
        gc.collect()

    assert first == second
    assert len({asked["connection"] for asked in seen}) == 2


def test_one_scorer_serves_event_loops_side_by_side(url: str) -> None:
    both = threading.Barrier(2, timeout=30)

    async def ask(scorer: HTTPScorer) -> Scores:
        await asyncio.to_thread(both.wait)
        return await scorer.ascore(QUERY, DOCUMENTS)

    with HTTPScorer(url) as scorer, ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: asyncio.run(ask(scorer)), range(2))

    assert first == second


def test_loops_that_are_gone_are_forgotten(url: str) -> None:
    with HTTPScorer(url) as scorer:
        for _ in range(3):
            asyncio.run(scorer.ascore(QUERY, DOCUMENTS))

        assert len(scorer._state.connections.async_clients) == 1


async def test_a_closed_scorer_may_be_used_again(scorer: HTTPScorer) -> None:
    expected = scorer.score(QUERY, DOCUMENTS)
    await scorer.ascore(QUERY, DOCUMENTS)

    await scorer.aclose()
    await scorer.aclose()

    assert await scorer.ascore(QUERY, DOCUMENTS) == expected
    assert scorer.score(QUERY, DOCUMENTS) == expected


async def test_a_scorer_that_nobody_closed_takes_its_connections_along(url: str) -> None:
    """Warnings are errors here, those about open sockets too."""
    scorer = HTTPScorer(url)
    scorer.score(QUERY, DOCUMENTS)
    await scorer.ascore(QUERY, DOCUMENTS)

    del scorer
    gc.collect()


async def test_a_cancelled_question_leaves_the_scorer_usable(scorer: HTTPScorer, overlap: OverlapModel) -> None:
    await scorer.ascore(QUERY, DOCUMENTS)
    overlap.gate.clear()
    overlap.started.clear()
    asked = asyncio.create_task(scorer.ascore(QUERY, DOCUMENTS))
    await asyncio.to_thread(overlap.started.wait, 30)

    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    overlap.gate.set()

    assert len((await scorer.ascore(QUERY, DOCUMENTS)).values) == len(DOCUMENTS)


def test_a_password_is_in_no_log_of_any_library(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with HTTPScorer(url.replace("//", "//me:secret-word@"), api_key="secret-key") as scorer:
        scorer.score(QUERY, DOCUMENTS)

    assert "/v1/rerank" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "address", ["ftp://me:secret@h", "http://me:secret@h/?a=b", "http://me:sec#ret@h", "me:secret@h"]
)
def test_a_password_is_in_no_complaint_about_the_address(address: str) -> None:
    with pytest.raises(InvalidRequest, match="base_url") as caught:
        HTTPScorer(address)

    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["timeout", "max_retries", "hedge_after"])
def test_text_in_place_of_a_number_is_named(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is '5'"):
        HTTPScorer("http://localhost:8000", **{name: "5"})


@pytest.mark.parametrize("number", [-1, 1.5])
def test_a_number_of_retries_that_cannot_be_is_refused_at_once(number: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"max_retries is {number}"):
        HTTPScorer("http://localhost:8000", max_retries=number)


def test_no_address_at_all_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequest, match="base_url is an empty list"):
        HTTPScorer([])


def test_an_address_given_twice_is_one() -> None:
    assert HTTPScorer(["http://a/", "http://b", "http://a"]).base_urls == ("http://a", "http://b")
    assert repr(HTTPScorer(["http://a/", "http://b"])) == "HTTPScorer(['http://a', 'http://b'])"
    assert repr(HTTPScorer("http://me:secret@a/")) == "HTTPScorer('http://a')"


@pytest.mark.parametrize("side", ["left", "right"])
async def test_a_document_beyond_the_servers_limit_is_cut_as_in_process(
    scorer: HTTPScorer, overlap: OverlapModel, info: dict[str, Any], seen: Seen, side: Any
) -> None:
    """One that no request could hold, among others: what the model cannot read is cut anyway."""
    info["max_body_bytes"] = 3000
    documents = [DOCUMENTS[0], " ".join(f"word{number % 7}" for number in range(2000)), DOCUMENTS[1]]
    options = ScoreOptions(truncation_side=side)

    expected = overlap.score(QUERY, documents, options=options)

    assert scorer.score(QUERY, iter(documents), options=options) == expected
    assert await scorer.ascore(QUERY, documents, options=options) == expected
    assert expected.usage.truncated == 1
    with pytest.raises(InvalidRequest, match=r"document 1 and the query make a request of .* the server takes 3000"):
        scorer.score(QUERY, documents, ScoreOptions(truncate=False))


async def test_a_server_that_refuses_long_texts_is_given_shorter_ones(
    scorer: HTTPScorer, overlap: OverlapModel, info: dict[str, Any], script: deque[Any], seen: Seen
) -> None:
    """As those of before do, where others cut what the model cannot read."""
    info["max_text_chars"] = 500
    documents = ["panda " * 1000, "a train"]
    refusal = InvalidRequest("document 0 has 6000 characters, a text may have 500")
    expected = overlap.score(QUERY, documents)

    script.append(refusal)
    assert scorer.score(QUERY, documents) == expected
    script.append(refusal)
    assert await scorer.ascore(QUERY, documents) == expected
    assert [len(asked[0]) for asked in questions(seen)] == [6000, 500] * 2

    script.append(refusal)
    with pytest.raises(InvalidRequest, match="6000 characters"):
        scorer.score(QUERY, documents, ScoreOptions(truncate=False))
    script.append(InvalidRequest("something else"))
    with pytest.raises(InvalidRequest, match="something else"):
        scorer.score(QUERY, DOCUMENTS[:2])


async def test_documents_may_come_from_an_iterator(scorer: HTTPScorer, overlap: OverlapModel) -> None:
    expected = overlap.score(QUERY, DOCUMENTS)

    assert scorer.score(QUERY, (text for text in DOCUMENTS)) == expected
    assert await scorer.ascore(QUERY, dict(enumerate(DOCUMENTS)).values()) == expected
    assert scorer.score(QUERY, iter(())).values == ()
    for wrong in ({"a": "b"}, None, b"text"):
        with pytest.raises(InvalidRequest, match="documents is"):
            scorer.score(QUERY, wrong)


@pytest.mark.parametrize(("top", "threshold"), [(None, None), (1, None), (2, None), (2, 0.9), (None, 2.0)])
async def test_sentences_of_a_list_in_parts_are_those_in_process(
    scorer: HTTPScorer, overlap: OverlapModel, info: dict[str, Any], top: int | None, threshold: float | None
) -> None:
    info["max_client_batch_size"] = 2
    options = ScoreOptions(highlight="sentences", highlight_top=top, highlight_threshold=threshold)
    documents = [f"{text} {DOCUMENTS[1]}" for text in DOCUMENTS]

    expected = overlap.score(QUERY, documents, options).sentences

    assert scorer.score(QUERY, documents, options).sentences == expected
    assert (await scorer.ascore(QUERY, documents, options)).sentences == expected
    assert expected is not None
    if threshold is None:
        assert sum(found is not None for found in expected) == (top or len(documents))
    assert scorer.score(QUERY, [], options).sentences == overlap.score(QUERY, [], options).sentences


@pytest.mark.parametrize("side", ["left", "right"])
def test_sentences_of_a_document_that_is_cut_on_the_way_are_characters_of_the_callers(
    scorer: HTTPScorer, info: dict[str, Any], side: Any
) -> None:
    info["max_body_bytes"] = 3000
    document = "Trains leave at noon. " * 1000
    options = ScoreOptions(highlight="sentences", truncation_side=side)

    (found,) = scorer.score(QUERY, [document], options).sentences or ()

    assert [document[start:end] for start, end, _ in found or ()] == ["Trains leave at noon."] * 3
    assert all((start > len(document) / 2) == (side == "left") for start, *_ in found or ())


async def test_a_bar_counts_the_documents_that_are_answered(
    scorer: HTTPScorer, info: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    info["max_client_batch_size"] = 2
    for ask in (scorer.score, scorer.ascore):
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", terminal)

        answer = ask(QUERY, DOCUMENTS, progress=True)
        if inspect.isawaitable(answer):
            await answer

        assert f"{len(DOCUMENTS)}/{len(DOCUMENTS)}" in terminal.getvalue()
