import tracemalloc
from dataclasses import replace

import pytest
from rerank_core.errors import Overloaded, TooManyDocuments
from rerank_core.models.local import LocalModel
from rerank_core.scorer import StepwiseModel
from rerank_core.testing.doubles import OverlapModel
from rerank_core.testing.listwise import WordEngine
from rerank_core.testing.prompted import Prompted, prompted_model
from rerank_core.types import ModelInfo, Pair, ScoreOptions
from rerank_server.inference.admission import Admission, PromptTokens, Reservation, estimated_tokens, prompt_tokens


def house(
    rate: float | None = 100.0, waiting: int = 0, left: dict[Reservation, float] | None = None, **limits
) -> Admission:
    return Admission(
        **{"max_pairs": 10, "max_tokens": 1000} | limits,
        tokens_per_second=lambda: rate,
        waiting_tokens=lambda: waiting,
        seconds_left=lambda: left,
    )


def test_room_is_given_back() -> None:
    admission = house()
    with admission.reserve(4, 100, seconds=60), admission.reserve(6, 200, seconds=60):
        assert (admission.pairs, admission.tokens) == (10, 300)

    assert (admission.pairs, admission.tokens) == (0, 0)


def test_a_request_comes_in_whole_or_not_at_all() -> None:
    admission = house()
    with admission.reserve(8, 100, seconds=60):
        with pytest.raises(Overloaded, match="8 of 10 pairs"), admission.reserve(3, 30, seconds=60):
            pass
        assert admission.pairs == 8
        with admission.reserve(2, 30, seconds=60):
            assert admission.pairs == 10


def test_tokens_are_a_limit_of_their_own() -> None:
    admission = house()
    with (
        admission.reserve(1, 900, seconds=60),
        pytest.raises(Overloaded, match="900 of 1000 tokens"),
        admission.reserve(1, 200, seconds=60),
    ):
        pass


@pytest.mark.parametrize(("pairs", "tokens", "limit"), [(11, 20, "MAX_QUEUE_PAIRS"), (2, 1001, "MAX_QUEUE_TOKENS")])
def test_what_the_house_can_never_hold_is_not_a_matter_of_waiting(pairs: int, tokens: int, limit: str) -> None:
    with pytest.raises(TooManyDocuments, match=limit), house().reserve(pairs, tokens, seconds=60):
        pass


def test_a_corrected_count_keeps_the_next_one_out_and_nobody_is_turned_out() -> None:
    admission = house()
    with admission.reserve(1, 100, seconds=60) as hold:
        hold.tokens = 1500
        assert admission.tokens == 1500
        with pytest.raises(Overloaded), admission.reserve(1, 10, seconds=60):
            pass


def refused(admission: Admission, pairs: int) -> float | None:
    with pytest.raises(Overloaded) as caught, admission.reserve(pairs, 1, seconds=60):
        pass
    return caught.value.retry_after


def test_the_time_to_wait_is_until_so_many_requests_have_ended_as_make_room() -> None:
    left: dict[Reservation, float] = {}
    admission = house(left=left)
    with admission.reserve(2, 300, seconds=60) as late, admission.reserve(8, 500, seconds=60) as soon:
        left |= {late: 8.0, soon: 3.0}

        assert refused(admission, 5) == 3.0
        assert refused(admission, 9) == 8.0


def test_who_is_about_to_end_makes_room_in_a_second() -> None:
    admission = house(left={})
    with admission.reserve(10, 800, seconds=60):
        assert refused(admission, 1) == 1.0


def test_where_nothing_was_measured_the_time_to_wait_is_a_guess() -> None:
    admission = house(left=None)
    with admission.reserve(10, 800, seconds=60):
        assert refused(admission, 1) == 5.0


def test_who_would_wait_longer_than_it_has_is_told_at_once() -> None:
    admission = house(rate=10.0, waiting=900)
    with (
        admission.reserve(1, 900, seconds=300),
        pytest.raises(Overloaded, match="would wait about 9 s") as caught,
        admission.reserve(1, 90, seconds=5),
    ):
        pass
    assert caught.value.retry_after == 5.0


def test_a_small_request_does_not_wait_for_a_large_one_and_is_let_in() -> None:
    admission = house(rate=10.0, waiting=900)
    with admission.reserve(1, 900, seconds=300), admission.reserve(1, 40, seconds=5):
        assert admission.pairs == 2


def test_a_request_alone_in_the_house_is_let_in_however_long_it_takes() -> None:
    with house(rate=1.0).reserve(10, 1000, seconds=5) as hold:
        assert hold.tokens == 1000


def test_tokens_are_estimated_from_characters_up_to_what_the_model_reads() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512)
    cut, whole = ScoreOptions(), ScoreOptions(long_documents="chunk")

    assert estimated_tokens([Pair("a" * 20, "b" * 80)], info, cut) == 34
    assert estimated_tokens([Pair("a" * 20, "b" * 80)], info, whole) == 34
    assert estimated_tokens([Pair("a", "b" * 100_000)] * 3, info, cut) == 3 * 512
    assert estimated_tokens([], info, cut) == 0
    assert estimated_tokens([Pair("a" * 900, "b" * 900)], info, ScoreOptions(max_query_tokens=3)) == 4 + 3 + 270


def test_an_instruction_is_counted_with_every_pair() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512)
    takes = replace(info, takes_instruction=True, instruction="c" * 100)
    pairs = [Pair("a" * 20, "b" * 80)] * 3

    for way in ("truncate", "chunk"):
        options = ScoreOptions(long_documents=way)
        assert estimated_tokens(pairs, takes, options) == 3 * (34 + 30)
        assert estimated_tokens(pairs, takes, replace(options, instruction="")) == 3 * 34
        assert estimated_tokens(pairs, takes, replace(options, instruction="c" * 10)) == 3 * (34 + 3)
    assert estimated_tokens(pairs, takes, ScoreOptions(instruction="c" * 100_000)) == 3 * 512


def test_all_windows_of_a_long_document_are_estimated() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512, long_documents="chunk")
    pairs = [Pair("a", "b" * 100_000)]

    assert 30_000 < estimated_tokens(pairs, info, ScoreOptions()) < 40_000
    assert estimated_tokens(pairs, info, ScoreOptions(max_chunks=2)) == 2 * 512
    assert estimated_tokens(pairs, info, ScoreOptions(max_document_tokens=100)) == 105
    assert estimated_tokens(pairs, info, ScoreOptions(long_documents="truncate")) == 512
    assert estimated_tokens(pairs, info, ScoreOptions(), 10_000) < 4_000
    assert estimated_tokens(pairs, info, ScoreOptions(truncate=False), 10_000) > 30_000


@pytest.mark.parametrize("options", [ScoreOptions(), ScoreOptions(max_chunks=1)], ids=["all", "one"])
def test_an_estimate_makes_no_list_of_windows(options: ScoreOptions) -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=16, long_documents="chunk")
    pairs = [Pair("a", "b" * 1_000_000)]

    tracemalloc.start()
    estimated_tokens(pairs, info, options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10_000


class WholeEngine(WordEngine):
    """Computes each prefix anew."""

    def cost(self, sequences):
        return sum(map(len, sequences))


class Unshared(Prompted):
    """Reads nine words before the query. No document shares them with another."""

    def encode(self, query, documents, options, first=0):
        found = super().encode(f"{'please ' * 9}{query}", documents, options, first)
        return [replace(one, sequences=tuple(replace(each, prefix=0) for each in one.sequences)) for one in found]


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        (OverlapModel(), PromptTokens(1, 0, has_query=False)),
        (LocalModel(Unshared(), WordEngine(), prompted_model().info, str), PromptTokens(11, 0, has_query=False)),
        (prompted_model(), PromptTokens(1, 1, has_query=True)),
        (prompted_model(WholeEngine()), PromptTokens(2, 0, has_query=False)),
    ],
    ids=["no prompt", "no prefix", "shared", "not shared"],
)
def test_the_tokens_of_a_prompt_are_those_that_the_engine_computes(model: StepwiseModel, prompt: PromptTokens) -> None:
    assert prompt_tokens(model) == prompt


QUERY, DOCUMENT = "a" * 100, "b" * 200  # 30 and 60 tokens


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        (PromptTokens(own=9, prefix=70, has_query=True), 2 * (70 + 30) + 5 * (9 + 60)),
        (PromptTokens(own=9, prefix=17, has_query=False), 2 * 17 + 5 * (9 + 30 + 60)),
        (PromptTokens(own=9, prefix=0, has_query=False), 5 * (9 + 30 + 60)),
    ],
)
def test_what_documents_of_a_query_share_is_estimated_once(prompt: PromptTokens, tokens: int) -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512)
    pairs = [Pair(QUERY, DOCUMENT)] * 3 + [Pair("c" * 100, DOCUMENT)] * 2

    assert estimated_tokens(pairs, info, ScoreOptions(), prompt=prompt) == tokens


def test_windows_of_a_document_share_the_query_too() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512, long_documents="chunk")
    options = ScoreOptions(overlap_tokens=0)
    prompt = PromptTokens(own=12, prefix=70, has_query=True)  # a window has 512 - 12 - 70 - 30 = 400 tokens

    assert estimated_tokens([Pair(QUERY, "b" * 4000)], info, options, prompt=prompt) == 70 + 30 + 1200 + 3 * 12
    assert estimated_tokens([Pair(QUERY, DOCUMENT)] * 2, info, options, prompt=prompt) == 70 + 30 + 2 * (12 + 60)


def test_what_is_truncated_of_a_prompt_is_not_estimated() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=100)
    prompt = PromptTokens(own=10, prefix=20, has_query=True)

    assert estimated_tokens([Pair(QUERY, DOCUMENT)], info, ScoreOptions(), prompt=prompt) == 100
    assert estimated_tokens([Pair("a" * 9000, DOCUMENT)], info, ScoreOptions(), prompt=prompt) == 100


def test_an_instruction_is_estimated_as_part_of_the_query() -> None:
    info = ModelInfo(name="m", engine="e", device="cpu", dtype="float32", max_length=512, takes_instruction=True)
    prompt = PromptTokens(own=9, prefix=70, has_query=True)
    asked = ScoreOptions(instruction="i" * 40)  # 12 tokens

    assert estimated_tokens([Pair(QUERY, DOCUMENT)] * 3, info, asked, prompt=prompt) == 70 + 12 + 30 + 3 * (9 + 60)
