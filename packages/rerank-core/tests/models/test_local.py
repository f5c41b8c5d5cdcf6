import contextlib
import math
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rerank_core
import torch
from rerank_core import DeviceError, EngineError, InputTooLong, InvalidRequest, Pair, ScoreOptions
from rerank_core.checkpoints.labels import HeadColumns
from rerank_core.models.cross_encoder import CrossEncoder
from rerank_core.models.local import LocalModel
from rerank_core.types import Encoding, Scored, Span, TokenSequence


def test_ten_thousand_documents_have_ten_thousand_scores(tiny_model):
    model = tiny_model("distilbert")
    documents = [f"panda {number % 100}" for number in range(10_000)]

    scores = model.score("a panda", documents)

    assert scores.usage.pairs == len(scores.values) == 10_000
    assert scores.values == model.score("a panda", documents[:100]).values * 100


def test_pairs_may_have_different_queries(tiny_model):
    model = tiny_model("bert")
    pairs = [Pair("a panda", "bamboo"), Pair("paris", "the capital of france"), Pair("a panda", "china")]

    scores = model.score_pairs(pairs, ScoreOptions(raw=True))

    assert scores.values == tuple(
        model.score(query, [document], ScoreOptions(raw=True)).values[0] for query, document in pairs
    )
    assert scores.usage.pairs == 3
    assert model.score_pairs([]).values == ()
    assert model.score_pairs(np.array(pairs), ScoreOptions(raw=True)) == scores
    assert model.score_pairs((list(pair) for pair in pairs), ScoreOptions(raw=True)) == scores
    with pytest.raises(InvalidRequest, match="pair 0 is one string"):
        model.score_pairs(["ab"])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair("ab\ud800", "fine"), "the query of pair 1 holds a lone surrogate"),
        (Pair("fine", "\udfff"), "document 1 holds a lone surrogate"),
        (Pair("fine", None), "document 1 is NoneType, not a string"),
    ],
)
def test_a_pair_that_is_not_text_is_refused_by_its_place(tiny_model, pair, message):
    with pytest.raises(InvalidRequest, match=message):
        tiny_model("bert").score_pairs([Pair("fine", "fine"), pair])


def test_a_long_query_is_refused_where_it_must_stay_whole(tiny_model):
    with pytest.raises(InputTooLong, match=r"the query has \d+ tokens"):
        tiny_model("bert").score("panda " * 200, ["bamboo"], options=ScoreOptions(truncation="only_second"))


def test_a_failing_engine_is_an_engine_error_with_its_cause_and_the_next_call_works(tiny_model, monkeypatch):
    model = tiny_model("bert")
    before = model.score("a panda", ["bamboo"])

    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with monkeypatch.context() as patched:
        patched.setattr(model._engine, "_rows", broken)
        with pytest.raises(EngineError, match=r"the packed engine failed on 1 sequences of \d+ tokens") as caught:
            model.score("a panda", ["bamboo"])
    assert "shapes cannot be multiplied" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "bamboo" not in str(caught.value)

    assert model.score("a panda", ["bamboo"]) == before


class Says:
    """An engine that says the same of every sequence."""

    name = "says"
    batch_tokens = 64

    def cost(self, sequences):
        return sum(map(len, sequences))

    def __init__(self, *row: float) -> None:
        self._row = row

    def forward(self, batch):
        return np.array([self._row] * len(batch.lengths), dtype=np.float32)


def test_an_engines_own_error_is_passed_on_as_it_is(tiny_model):
    real = tiny_model("bert")
    original = EngineError("the accelerator is gone")

    class Gone(Says):
        def forward(self, batch):
            raise original

    with pytest.raises(EngineError) as caught:
        LocalModel(real._task, Gone(), real.info, real.fingerprint).score("a panda", ["bamboo"])
    assert caught.value is original


def test_the_longest_go_first_and_batches_keep_to_the_engines_budget(tiny_model):
    """The largest batch fails at once if memory is short, not an hour in."""
    real = tiny_model("bert")
    batches = []

    class Noting(Says):
        def forward(self, batch):
            batches.append(batch.lengths.tolist())
            return super().forward(batch)

    LocalModel(real._task, Noting(1.0), real.info, real.fingerprint).score(
        "panda", ["panda " * n for n in (1, 30, 7, 60, 20)]
    )

    assert batches == [[64], [34, 24], [11, 5]]


def test_one_forward_pass_runs_at_a_time(tiny_model):
    real = tiny_model("bert")
    both_inside = threading.Barrier(2)
    met = []

    class Meeting(Says):
        def forward(self, batch):
            with contextlib.suppress(threading.BrokenBarrierError):
                met.append(both_inside.wait(timeout=0.2))
            return super().forward(batch)

    model = LocalModel(real._task, Meeting(1.0), real.info, real.fingerprint)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda text: model.score("panda", [text]), ["bamboo", "china"]))

    assert met == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_network_that_says_no_finite_number_is_an_engine_error(tiny_model, bad):
    real = tiny_model("bert")
    broken = LocalModel(real._task, Says(bad), real.info, real.fingerprint)

    with pytest.raises(EngineError, match="not a finite number"):
        broken.score("a panda", ["bamboo"])


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_an_embedding_of_nothing_is_an_engine_error(tiny_model):
    real = tiny_model("bert", "bi-encoder")

    with pytest.raises(EngineError, match="not a finite number"):
        LocalModel(real._task, Says(0.0, 0.0), real.info, real.fingerprint).score("a panda", ["bamboo"])


def test_the_score_is_the_logit_of_the_chosen_label(tiny_model):
    real = tiny_model("bert")

    model = LocalModel(
        CrossEncoder(real._task._tokenizer, HeadColumns(1)), Says(1.5, -2.5), real.info, real.fingerprint
    )

    assert model.score("a", ["b"], ScoreOptions(raw=True)).values == (-2.5,)


def test_the_best_window_is_the_score_of_a_document(tiny_model):
    sequences = tuple(TokenSequence.of([number]) for number in (1, 2, 3))
    spans = (Span(0, 4), Span(3, 8), Span(7, 9))

    scores = tiny_model("bert").scores(Encoding((0,), sequences, spans=spans), [0.5, 2.0, -1.0], ScoreOptions())

    assert scores == [Scored(2.0, Span(3, 8))]


def test_a_cosine_is_raw_and_its_sigmoid_is_the_score(tiny_model):
    real = tiny_model("bert", "bi-encoder")
    model = LocalModel(real._task, Says(3.0, 4.0), real.info, real.fingerprint)

    assert model.score("a", ["b"], ScoreOptions(raw=True)).values == pytest.approx((1.0,), abs=1e-12)
    assert model.score("a", ["b"]).values == pytest.approx((1 / (1 + math.exp(-1)),), abs=1e-12)


def test_a_model_that_takes_no_instruction_says_so_by_its_name(tiny_model):
    model = tiny_model("bert", "bi-encoder")

    with pytest.raises(InvalidRequest) as caught:
        model.score("q", ["d"], ScoreOptions(instruction="be brief"))

    assert str(caught.value).startswith(f"{model.info.name} takes no instruction: leave it out")


def test_usage_of_a_bi_encoder_counts_the_query_once(tiny_model):
    model = tiny_model("bert", "bi-encoder")

    assert model.score("panda", ["bamboo", "china", "china"]).usage.tokens == 3 + 3 + 3


# ---------------------------------------------------------------------------- large requests


def test_a_request_that_is_tokenised_in_parts_has_the_scores_and_usage_of_its_pairs(tiny_model, monkeypatch):
    """Parts follow one another while the network runs; a document in several of them is computed once."""
    model = tiny_model("bert")
    documents = [f"panda {number % 7} eats bamboo" for number in range(20)]
    whole = model.score("a panda", documents)
    computed: list[int] = []
    forward = model._engine.forward
    monkeypatch.setattr("rerank_core.models.local._PAIRS_AT_ONCE", 3)
    monkeypatch.setattr(model._engine, "forward", lambda batch: computed.append(len(batch.lengths)) or forward(batch))

    assert model.score("a panda", documents) == whole
    assert sum(computed) == 7


def test_a_refused_pair_of_a_later_part_is_named_by_its_place_in_the_request(tiny_model, monkeypatch):
    monkeypatch.setattr("rerank_core.models.local._PAIRS_AT_ONCE", 3)
    documents = ["bamboo"] * 10 + ["bamboo " * 600]

    with pytest.raises(InputTooLong, match="document 10 "):
        tiny_model("bert").score("a panda", documents, ScoreOptions(truncate=False))


def test_a_score_that_is_not_finite_is_named_by_its_place_in_the_request(tiny_model, monkeypatch):
    monkeypatch.setattr("rerank_core.models.local._PAIRS_AT_ONCE", 3)
    model = tiny_model("bert")
    monkeypatch.setattr(model, "_engine", Says(math.nan))

    with pytest.raises(EngineError, match="score of document 0 is nan"):
        model.score("a panda", ["bamboo"] * 7)


# ---------------------------------------------------------------------------- memory


class Cramped:
    """The network of an engine, with memory for so many tokens at once; it keeps count of what it was asked."""

    def __init__(self, rows, error: Exception, room: int) -> None:
        self._rows = rows
        self._error = error
        self._room = room
        self.asked: list[int] = []

    def __call__(self, batch):
        self.asked.append(int(batch.lengths.sum()))
        if self.asked[-1] > self._room:
            raise self._error
        return self._rows(batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "mps", "cpu", "python"],
)
def test_out_of_memory_halves_the_batch_and_goes_on_with_the_same_scores(tiny_model, monkeypatch, caplog, error):
    model = tiny_model("bert")
    documents = [f"panda {'bamboo ' * number}" for number in range(40)]
    golden = model.score("a panda", documents)
    cramped = Cramped(model._engine._rows, error, room=300)
    monkeypatch.setattr(model._engine, "_rows", cramped)
    monkeypatch.setattr(model, "_most_tokens", model._most_tokens)

    assert model.score("a panda", documents) == golden
    assert "out of memory with" in caplog.text

    failures = sum(tokens > 300 for tokens in cramped.asked)
    assert model.score("a panda", documents) == golden
    assert sum(tokens > 300 for tokens in cramped.asked) == failures  # what it learned it keeps
    assert model.batch_tokens <= 300


def test_one_pair_that_does_not_fit_is_an_error_with_its_tokens(tiny_model, monkeypatch):
    model = tiny_model("bert")
    cramped = Cramped(model._engine._rows, torch.OutOfMemoryError("CUDA out of memory"), room=20)
    monkeypatch.setattr(model._engine, "_rows", cramped)
    monkeypatch.setattr(model, "_most_tokens", model._most_tokens)

    with pytest.raises(EngineError, match=r"failed on 1 sequences of 5\d tokens \(OutOfMemoryError"):
        model.score("a panda", ["bamboo", "bamboo " * 50])


def test_a_device_in_an_error_state_is_an_error_of_its_own(tiny_model, monkeypatch):
    """So that a server ends its process, instead of trying the next batch on it."""
    model = tiny_model("bert")

    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patched:
        patched.setattr(model._engine, "_rows", lost)
        with pytest.raises(DeviceError, match="start the process again"):
            model.score("a panda", ["bamboo", "china"])


def test_the_fingerprint_is_of_what_decides_scores_and_not_of_where_it_lies(tiny, tmp_path):
    here = rerank_core.load(str(tiny("bert")))
    shutil.copytree(tiny("bert"), tmp_path / "elsewhere")

    assert rerank_core.load(str(tmp_path / "elsewhere")).fingerprint() == here.fingerprint()
    assert rerank_core.load(str(tiny("bert")), max_length=20).fingerprint() != here.fingerprint()
    assert rerank_core.load(str(tiny("bert")), max_characters=2000).fingerprint() != here.fingerprint()
    assert rerank_core.load(str(tiny("roberta"))).fingerprint() != here.fingerprint()
    config = tmp_path / "elsewhere" / "tokenizer.json"
    config.write_text(config.read_text() + " ")
    assert rerank_core.load(str(tmp_path / "elsewhere")).fingerprint() != here.fingerprint()
