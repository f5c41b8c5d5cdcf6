"""The packed engine keeps the keys and values of a prefix between batches, and no bit of a score depends on it."""

import json
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import rerank_core
import torch
from rerank_core import EngineError, Pair, ScoreOptions
from rerank_core.checkpoints.checkpoint import Checkpoint
from rerank_core.checkpoints.heads import TokenLogits
from rerank_core.engines.base import Batch
from rerank_core.engines.packed import engine as packed
from rerank_core.engines.packed.engine import PackedEngine
from rerank_core.engines.packed.network import DecoderNetwork
from rerank_core.engines.target import Target
from rerank_core.errors import OutOfMemory
from rerank_core.models.scoring import distinct_sequences
from rerank_core.testing.language_models import write_tiny_language_model
from rerank_core.testing.prompted import Prompted, prompted_model
from rerank_core.testing.word_tokenizer import WordEncoding, WordTokenizer
from rerank_core.types import Encoding, SharedPrefix, TokenSequence

RAW = ScoreOptions(raw=True)
QUERIES = [" ".join(f"word{number}" for number in range(length)) for length in (19, 40, 70)]
DOCUMENTS = [f"{place} " + "panda " * length for place, length in enumerate((0, 2, 7, 16, 39, 89) * 2)]
PAIRS = [Pair(query, document) for query in QUERIES for document in DOCUMENTS]


class SmallTokenizer(WordTokenizer):
    """Numbers words below the vocabulary of a tiny checkpoint."""

    def encode(self, text: str, pair: str | None = None, add_special_tokens: bool = True) -> WordEncoding:
        found = super().encode(text, pair, add_special_tokens)
        return WordEncoding([number % 390 + 10 for number in found.ids], found.offsets, found.sequence_ids, [])


class SmallPrompted(Prompted):
    def __init__(self) -> None:
        self._tokenizer = SmallTokenizer()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_language_model(tmp_path_factory.mktemp("qwen3"), "qwen3")


@pytest.fixture
def load(directory: Path) -> Iterator[Callable[..., PackedEngine]]:
    """Loads an engine with so many workers."""
    before = torch.get_num_threads()

    def load(threads: int = 2) -> PackedEngine:
        torch.set_num_threads(threads)
        config = json.loads((directory / "config.json").read_text())
        checkpoint = Checkpoint(
            name="tiny",
            revision=None,
            root=directory,
            directory=directory,
            config=config,
            head=TokenLogits(true_id=5, false_id=9),
            is_causal=True,
        )
        return PackedEngine.plan(checkpoint, Target("cpu", "float32")).load(
            Batch.of([TokenSequence.of(range(10, 40))]), trust_remote_code=False
        )

    yield load
    torch.set_num_threads(before)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The prefixes that were computed."""
    found: list[bytes] = []
    keys_values = DecoderNetwork.keys_values

    def noted(network: DecoderNetwork, prefixes: Sequence[bytes]):
        found.extend(prefixes)
        return keys_values(network, prefixes)

    monkeypatch.setattr(DecoderNetwork, "keys_values", noted)
    return found


def model_of(engine: PackedEngine):
    model = prompted_model(engine)
    model._task = SmallPrompted()
    return model


def small_batches(monkeypatch: pytest.MonkeyPatch, tokens: int = 150) -> None:
    monkeypatch.setattr(PackedEngine, "batch_tokens", property(lambda _: tokens))


def test_scores_have_the_same_bits_alone_and_in_company_over_many_batches_and_with_any_threads(
    load, monkeypatch: pytest.MonkeyPatch, computed: list[bytes]
) -> None:
    engine = load(1)
    alone = [model_of(engine).score(query, [document], RAW).values[0] for query, document in PAIRS]
    assert len(set(alone)) == len(alone)
    shuffled = random.Random(3).sample(range(len(PAIRS)), len(PAIRS))
    small_batches(monkeypatch)
    for threads in (1, 2):
        model = model_of(load(threads))

        computed.clear()
        assert list(model.score_pairs(PAIRS, RAW).values) == alone
        assert len(computed) == len(QUERIES)
        mixed = model.score_pairs([PAIRS[place] for place in shuffled], RAW).values
        assert [mixed[shuffled.index(place)] for place in range(len(PAIRS))] == alone
        assert len(model._engine._prefixes.get()) == 0


@pytest.mark.parametrize("room", [0, 25_000])
def test_what_is_not_kept_is_computed_again_with_the_same_bits(
    load, monkeypatch: pytest.MonkeyPatch, computed: list[bytes], room: int
) -> None:
    mixed = random.Random(3).sample(PAIRS, len(PAIRS))
    wanted = model_of(load()).score_pairs(mixed, RAW)
    monkeypatch.setattr(packed, "_PREFIX_BYTES", room)
    small_batches(monkeypatch)
    computed.clear()

    assert model_of(load()).score_pairs(mixed, RAW) == wanted
    assert len(computed) > len(QUERIES)


def test_a_prefix_larger_than_the_store_is_computed_once_where_it_is_the_only_one(
    load, monkeypatch: pytest.MonkeyPatch, computed: list[bytes]
) -> None:
    """Not once a batch: where each has one document, that would be all work twice."""
    wanted = model_of(load()).score(QUERIES[2], DOCUMENTS, RAW)
    monkeypatch.setattr(packed, "_PREFIX_BYTES", 1)
    small_batches(monkeypatch)
    computed.clear()
    model = model_of(load())

    assert model.score(QUERIES[2], DOCUMENTS, RAW) == wanted
    assert len(computed) == 1
    assert len(model._engine._prefixes.get()) == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_batch_of_many_queries_holds_the_prefixes_of_one_step_beside_the_store(
    load, monkeypatch: pytest.MonkeyPatch, threads: int, is_kept: bool
) -> None:
    """As the server's queue makes it, where each query's prefix has been paid for by a batch before."""
    token, prefix = 2 * 2 * 2 * 16 * 4, 50  # bytes; tokens
    room = 2 * prefix * token
    queries = [random.Random(query).choices(range(10, 300), k=prefix) for query in range(9)]
    many = [
        TokenSequence.of([*query, *range(place, place + 4)], prefix=prefix) for place in (10, 20) for query in queries
    ]
    shared = [SharedPrefix() for _ in range(9)] if is_kept else [None] * 9
    one_by_one = load()
    alone = [one_by_one.forward(Batch.of([one])).tolist()[0] for one in many]
    monkeypatch.setattr(packed, "_PREFIX_BYTES", room)
    engine, living, computed = load(threads), [], []
    keys_values = PackedEngine._keys_values

    def watched(engine: PackedEngine, prefixes: Sequence[bytes]):
        found = keys_values(engine, prefixes)
        computed.append(sum(state.nbytes for state in found))
        living.extend(weakref.ref(part) for state in found for layer in state.layers for part in layer)
        held = sum(part.nbytes for reference in living if (part := reference()) is not None)
        assert held <= engine._prefixes.get().nbytes + room
        return found

    monkeypatch.setattr(PackedEngine, "_keys_values", watched)

    assert engine.forward(Batch.of(many, shared * 2)).tolist() == alone
    assert max(computed) == room
    assert sum(computed) == 9 * prefix * token, "once a batch, however many steps it has"
    assert engine._prefixes.get().nbytes == (room if is_kept else 0)


def sequences(query: str) -> list[TokenSequence]:
    found: list[Encoding] = SmallPrompted().encode(query, DOCUMENTS, RAW)
    return distinct_sequences(found)


def test_requests_whose_batches_take_turns_keep_a_prefix_each_as_long_as_they_hold_it(
    load, computed: list[bytes]
) -> None:
    engine, (first, second) = load(), (SharedPrefix(), SharedPrefix())
    one = sequences(QUERIES[0])
    wanted = engine.forward(Batch.of(one)).tolist()
    computed.clear()

    rows = []
    for place in range(0, len(one), 3):
        both = [*one[place : place + 3], one[0]]
        rows += engine.forward(Batch.of(both, [first, first, first, second])).tolist()[:3]

    assert rows == wanted
    assert len(computed) == 2
    assert len(engine._prefixes.get()) == 2
    del first
    assert len(engine._prefixes.get()) == 1
    del second, both
    assert engine._prefixes.get().nbytes == 0


def test_a_kept_prefix_takes_its_keys_and_values_and_no_more(load) -> None:
    engine, held = load(), SharedPrefix()
    (one, *_) = sequences(QUERIES[1])

    engine.forward(Batch.of([one], [held]))

    layers, key_heads, width = 2, 2, 16
    assert engine._prefixes.get().nbytes == one.prefix * layers * 2 * key_heads * width * 4
    (kept,) = engine._prefixes.get()._kept.values()
    assert all(part.untyped_storage().nbytes() == part.nbytes for layer in kept.state.layers for part in layer)


def test_a_failed_batch_frees_what_other_requests_have_kept_too(load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may be short, and what is freed can be computed again."""
    engine, held = load(), SharedPrefix()
    one, *others = sequences(QUERIES[0])
    wanted = engine.forward(Batch.of([one], [held])).tolist()

    def cramped(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(DecoderNetwork, "rows", cramped)
        with pytest.raises(OutOfMemory):
            engine.forward(Batch.of(others, [held] * len(others)))

    assert len(engine._prefixes.get()) == 0
    assert engine.forward(Batch.of([one], [held])).tolist() == wanted


def test_halved_batches_have_the_same_bits_and_free_their_prefixes(load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load()
    wanted = model_of(engine).score_pairs(PAIRS, RAW)
    rows = PackedEngine._rows

    def cramped(self, batch):
        if len(batch.lengths) > 3:
            raise MemoryError
        return rows(self, batch)

    monkeypatch.setattr(PackedEngine, "_rows", cramped)

    assert model_of(engine).score_pairs(PAIRS, RAW) == wanted
    assert len(engine._prefixes.get()) == 0


def test_a_request_that_fails_leaves_no_keys_and_values_behind(load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load()
    rows, calls = PackedEngine._rows, []

    def broken(self, batch):
        calls.append(len(self._prefixes.get()))
        if len(calls) > 2:
            raise RuntimeError("broken")
        return rows(self, batch)

    monkeypatch.setattr(PackedEngine, "_rows", broken)
    small_batches(monkeypatch)

    with pytest.raises(EngineError):
        model_of(engine).score(QUERIES[2], DOCUMENTS)

    assert calls == [0, 1, 1]
    assert len(engine._prefixes.get()) == 0


def test_windows_of_long_documents_share_the_prompt_of_a_loaded_model(
    directory: Path, computed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = rerank_core.load(
        str(directory), device="cpu", engine="packed", recipe="qwen3-reranker", max_length=250, long_documents="chunk"
    )
    small_batches(monkeypatch, 300)
    documents = [f"{number} " + "the giant panda eats bamboo. " * number for number in range(1, 60, 7)]
    alone = [model.score("what is a panda?", [document], RAW).values[0] for document in documents]
    computed.clear()

    scores = model.score("what is a panda?", documents, RAW)

    assert list(scores.values) == alone
    encodings = model.encode("what is a panda?", documents, RAW)
    assert max(len(encoding.sequences) for encoding in encodings) > 3
    prefixes = {one.prefix_ids for encoding in encodings for one in encoding.sequences}
    assert sorted(computed) == sorted(prefixes)
    assert len(computed) <= 2  # one token more where a window begins with a space
    assert len(model._engine._prefixes.get()) == 0
