"""A prefix of a request is computed once while work of the request waits for it, and freed with the last of it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerank_core.errors import DeadlineExceeded, EngineError
from rerank_core.models.local import LocalModel
from rerank_core.models.scoring import distinct_sequences
from rerank_core.testing.listwise import WordEngine
from rerank_core.testing.prompted import prompted_model
from rerank_core.types import Pair, ScoreOptions, Scores, SharedPrefix, TokenSequence
from rerank_server.inference.cache import ScoreCache
from rerank_server.inference.scheduler import Scheduler
from rerank_server.inference.service import Service
from rerank_server.observability.request_record import RequestRecord

Collection = Callable[[], AbstractContextManager[None]]

NEVER = float("inf")
RAW = ScoreOptions(raw=True)
MARKED = ScoreOptions(raw=True, highlight="sentences")
QUERY = "giant panda of the far mountains"  # a prefix of 7 tokens
DOCUMENTS = [f"panda {number}" for number in range(60)]  # 10 tokens each, a batch has 64


class Engine(WordEngine):
    """Computes when its gate is open. Notes each batch, and how often it computed a prefix that it had before."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.started = threading.Event(), threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.poison: set[bytes] = set()  # token ids
        self.seen = weakref.WeakSet[SharedPrefix]()
        self.computed_again = 0

    def forward(self, batch):
        self.started.set()
        self.gate.wait()
        computed = len(self.computed)
        rows = super().forward(batch)
        new = {shared for shared in batch.shared if shared is None or shared not in self.seen}  # None: of the probe
        self.computed_again += len(self.computed) - computed - len(new)
        self.seen.update(new - {None})
        self.batches.append(len(batch.lengths))
        ends = batch.lengths.cumsum()
        for end, length in zip(ends, batch.lengths, strict=True):
            if batch.token_ids[end - length : end].tobytes() in self.poison:
                raise EngineError("poison")
        return rows


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def model(engine: Engine) -> LocalModel:
    return prompted_model(engine)


@pytest.fixture
async def service(engine: Engine, model: LocalModel, without_collection: Collection) -> Iterator[Service]:
    service = Service(model, max_pairs=1000, cache=ScoreCache(10**6, "model"))
    with without_collection():
        yield service
    engine.gate.set()
    service.close()


def record() -> RequestRecord:
    return RequestRecord(request_id="1", method="POST", route="/v1/rerank")


def score(service: Service, query: str, documents: list[str], seconds: float = 60) -> asyncio.Task[Scores]:
    pairs = [Pair(query, document) for document in documents]
    return asyncio.create_task(service.score_pairs(pairs, RAW, seconds=seconds, record=record()))


def until(happened: Callable[[], bool]) -> None:
    """For what another thread does a moment after it has answered."""
    turn = threading.Event()
    for _ in range(20_000):  # a thread that never ends would keep the tests from ending
        if happened():
            return
        turn.wait(0.001)
    raise AssertionError("it has not happened")


async def empty(engine: Engine) -> None:
    await asyncio.to_thread(until, lambda: len(engine.store) == 0)


async def test_a_request_computes_its_prefix_once_over_all_batches_and_frees_it(service, engine) -> None:
    scores = await score(service, QUERY, DOCUMENTS)

    assert scores.values == prompted_model().score(QUERY, DOCUMENTS, RAW).values
    assert len(engine.batches) > 2
    assert len(engine.computed) == 1
    assert scores.usage.tokens == 10 * len(DOCUMENTS)
    await empty(engine)  # though the cache has the sequences


async def test_requests_of_the_same_query_share_nothing_with_each_other(service, engine) -> None:
    engine.gate.clear()
    requests = [score(service, QUERY, DOCUMENTS[:30]), score(service, QUERY, DOCUMENTS[30:])]
    await asyncio.to_thread(engine.started.wait)
    engine.gate.set()
    await asyncio.gather(*requests)

    assert len(engine.computed) == 2
    assert engine.computed_again == 0
    await empty(engine)


async def leave(requests: list[asyncio.Task], *wanted: type[BaseException]) -> None:
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(result) for result in results] == list(wanted)


async def test_a_request_that_is_cancelled_between_two_batches_frees_its_prefix(service, engine) -> None:
    engine.gate.clear()
    request = score(service, QUERY, DOCUMENTS)
    await asyncio.to_thread(engine.started.wait)
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request
    engine.gate.set()

    await asyncio.to_thread(until, lambda: len(engine.batches) == 1)
    await empty(engine)
    assert len(engine.batches) == len(engine.computed) == 1


async def test_a_request_whose_time_is_over_frees_its_prefix(service, engine) -> None:
    engine.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await score(service, QUERY, DOCUMENTS, seconds=0.1)
    engine.gate.set()

    await asyncio.to_thread(until, lambda: len(engine.batches) == 1)
    await empty(engine)
    assert len(engine.computed) == 1


async def test_a_request_that_fails_frees_its_prefix_even_where_its_error_is_kept(service, engine, model) -> None:
    (bad,) = distinct_sequences(model.encode(QUERY, DOCUMENTS[30:31], RAW))
    engine.poison = {bad.token_ids}

    (error,) = await asyncio.gather(score(service, QUERY, DOCUMENTS), return_exceptions=True)

    assert isinstance(error, EngineError)
    await empty(engine)
    assert len(engine.computed) == 1
    assert engine.computed_again == 0


async def test_of_many_queries_in_a_request_only_those_that_wait_are_kept(service, engine) -> None:
    pairs = [Pair(f"query {number}", document) for number in range(40) for document in DOCUMENTS[:10]]
    kept: list[int] = []
    forward, loop = engine.forward, asyncio.get_running_loop()

    def noting(batch):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # the last batch has been completed then
        kept.append(len(engine.store))
        return forward(batch)

    engine.forward = noting
    scores = await service.score_pairs(pairs, RAW, seconds=60, record=record())

    assert scores.values == prompted_model().score_pairs(pairs, RAW).values
    assert len(engine.computed) == 40
    assert max(kept) <= 10  # those of the batch of pairs that was tokenized last may go on
    await empty(engine)


async def test_sentences_share_the_prefix_of_their_documents(service, engine) -> None:
    pairs = [Pair(QUERY, "A panda eats. It is calm. "), Pair(QUERY, "A giant sleeps. It rains. ")]

    scores = await service.score_pairs(pairs, MARKED, seconds=60, record=record())

    assert scores.sentences == prompted_model().score_pairs(pairs, MARKED).sentences
    assert [len(found) for found in scores.sentences] == [2, 2]
    assert len(engine.batches) == 2
    assert len(engine.computed) == 1
    await empty(engine)


@pytest.mark.parametrize(("options", "kept_at_last"), [(RAW, 0), (MARKED, 1)], ids=["plain", "highlight"])
async def test_prefixes_outlive_their_batches_only_where_sentences_follow(
    service, engine, options, kept_at_last
) -> None:
    pairs = [Pair(query, document) for query in ("first", "second") for document in DOCUMENTS[:20]]
    kept: list[int] = []
    forward, loop = engine.forward, asyncio.get_running_loop()

    def noting(batch):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # the last batch has been completed then
        kept.append(len(engine.store))
        return forward(batch)

    engine.forward = noting
    await service.score_pairs(pairs, options, seconds=60, record=record())

    batches = next(number for number in range(len(pairs)) if sum(engine.batches[:number]) == len(pairs))
    assert kept[batches - 1] == kept_at_last
    await empty(engine)


async def test_tokens_in_the_server_count_a_prefix_once(service, engine) -> None:
    engine.gate.clear()
    request = score(service, QUERY, DOCUMENTS)
    await asyncio.to_thread(engine.started.wait)
    exact = 7 + 3 * len(DOCUMENTS)  # an estimate until all is tokenized
    await asyncio.to_thread(until, lambda: service.admission.tokens == exact)
    waiting = service.waiting_tokens
    engine.gate.set()
    await request

    assert waiting == 3 * (len(DOCUMENTS) - engine.batches[0])


async def test_a_batch_is_measured_and_reported_with_the_tokens_that_were_computed(model, engine) -> None:
    tokens: list[int] = []
    scheduler = Scheduler(model, on_batch=lambda **batch: tokens.append(batch["tokens"]))
    sizes: list[int | None] = []
    forward = engine.forward

    def noting(batch):
        sizes.append(scheduler.progress.size)
        return forward(batch)

    engine.forward = noting
    with scheduler.open(NEVER) as pending:
        pending.add(distinct_sequences(model.encode(QUERY, DOCUMENTS, RAW)))
        await pending.outputs()
    await asyncio.to_thread(until, lambda: len(tokens) == len(engine.batches))
    scheduler.close()

    assert sum(tokens) == 7 + 3 * len(DOCUMENTS)
    assert max(tokens) <= model.batch_tokens
    assert sizes == tokens


async def test_over_http_usage_counts_every_pair_as_a_whole_and_a_metric_what_was_computed(
    serve, until_ready, model
) -> None:
    async def metric(name: str) -> float:
        lines = (await client.get("/metrics")).text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    async def computed(tokens: int) -> None:
        while await metric("rerank_tokens_total") != tokens:  # noqa: ASYNC110 (over HTTP there is no event)
            await asyncio.sleep(0)

    async with serve(lambda _: model, cache_mb=10) as client:
        await until_ready(client)
        body = {"query": QUERY, "documents": DOCUMENTS, "raw_scores": True}
        await computed(8)  # to warm up
        answers = [(await client.post("/v1/rerank", json=body)).json() for _ in range(2)]
        await computed(8 + 7 + 3 * len(DOCUMENTS))
        read = await metric("rerank_input_tokens_total")

    assert [answer["usage"]["total_tokens"] for answer in answers] == [10 * len(DOCUMENTS)] * 2
    assert answers[0]["results"] == answers[1]["results"]
    assert read == 2 * 10 * len(DOCUMENTS)


# ---------------------------------------------------------------------------- any interleaving

Request = st.tuples(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=12),  # queries and documents
    st.sampled_from(["waits", "waits", "leaves while the first batch runs", "leaves after it", "is late"]),
)


@given(st.lists(Request, min_size=1, max_size=6), st.sets(st.integers(0, 12), max_size=2))
def test_any_requests_compute_each_prefix_once_while_it_lives_and_leave_nothing(
    play, without_collection, requests, poison
) -> None:
    with without_collection():
        asyncio.run(asyncio.wait_for(_nothing_is_left(play, requests, poison), 20))


async def _nothing_is_left(play, requests, poison) -> None:
    engine = Engine()
    model = prompted_model(engine)
    scheduler = Scheduler(model)

    def sequence(query: int, document: int) -> TokenSequence:
        encodings = model.encode(f"giant {query}", [f"giant {'panda ' * (document % 5)} {document}"], RAW)
        return encodings[0].sequences[0]

    async def compute(wanted: list[TokenSequence], deadline: float):
        with scheduler.open(deadline) as pending:
            pending.add(wanted[:6])
            await asyncio.sleep(0)
            pending.add(wanted[6:])
            return await pending.outputs()

    engine.poison = {sequence(query, document).token_ids for query in range(2) for document in poison}
    wanted = [list(dict.fromkeys(sequence(*pair) for pair in pairs)) for pairs, _ in requests]
    fates = [fate for _, fate in requests]
    _, *results = await play(engine, compute, [sequence(2, 99)], list(zip(wanted, fates, strict=True)))

    for own, fate, result in zip(wanted, fates, results, strict=True):
        fails = any(one.token_ids in engine.poison for one in own)
        if isinstance(result, dict):
            assert not fails
            fresh = prompted_model()
            assert result == {one: fresh.forward([one])[0] for one in own}
        else:
            assert fails if fate == "waits" else isinstance(result, asyncio.CancelledError | EngineError)
    assert engine.computed_again == 0
    await empty(engine)
    assert len(engine.seen) == 0
    scheduler.close()
