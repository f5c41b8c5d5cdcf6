"""A fuzzer of the same scores by every road: a server's answers have the bits of the model in this process.

Each case is made from the seed and its number, so that a failure can be run again: FUZZ_SEED=... FUZZ_CASE=...
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest
import rerank_core
from rerank_core import Pair, RerankError, ScoreOptions
from rerank_core.models.local import LocalModel
from rerank_core.testing.checkpoints import WORDS, write_tiny_checkpoint
from rerank_integrations.client import HTTPScorer

AT_ONCE = 4  # requests in flight, so that each case is computed in others' company

ODD_TEXTS = (
    "", " ", "\n\n\t", "\u00a0", "大熊猫 lives in 中国", "😀" * 40, "<s> </s> <pad>", "[CLS] [SEP] [UNK]", "x" * 500,
    "e\u0301" * 30, "\u0000a", "\ufeffpanda", "ﬁ Å İ ß", "مرحبا بالعالم", "a\u2028b", "1" * 300, "\u200b\u200d",
)  # fmt: skip
CHOICES: dict[str, tuple[Any, ...]] = {
    "raw": (True, False),
    "truncate": (True, True, False),
    "truncation": ("longest_first", "only_second"),
    "truncation_side": ("right", "left"),
    "max_query_tokens": (1, 5, 40),
    "max_document_tokens": (1, 30, 200),
    "long_documents": ("chunk", "truncate"),
    "overlap_tokens": (0, 7, 100),
    "max_chunks": (1, 3),
    "chunk_score": ("max", "first", "mean"),
    "best_chunks": (1, 2),
    "instruction": ("", "be kind"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """One model, in this process and behind a server."""

    model: LocalModel
    url: str
    remote: HTTPScorer


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory, serve_process: Callable[..., Any]) -> Iterator[list[Target]]:
    """A cross-encoder and a bi-encoder, each with a window short enough that texts are cut."""
    with ExitStack() as stack:
        found = []
        for kind in ("cross-encoder", "bi-encoder"):
            folder = write_tiny_checkpoint(tmp_path_factory.mktemp("fuzz") / kind, "xlm-roberta", kind=kind)
            server = stack.enter_context(serve_process(folder, RERANK_MAX_LENGTH="64"))
            remote = stack.enter_context(HTTPScorer(server.url))
            found.append(Target(rerank_core.load(str(folder), max_length=64), server.url, remote))
        yield found


def text(dice: random.Random) -> str:
    match dice.randrange(8):
        case 0:
            return dice.choice(ODD_TEXTS)
        case 1:
            return " ".join(dice.choices(WORDS, k=dice.randint(60, 900)))
        case 2:
            return "".join(chr(dice.choice((dice.randrange(32, 127), dice.randrange(0xD7FF)))) for _ in range(40))
        case 3:
            return dice.choice(ODD_TEXTS) + " ".join(dice.choices(WORDS, k=70)) + dice.choice(ODD_TEXTS)
        case _:
            return " ".join(dice.choices(WORDS, k=dice.randint(1, 30)))


def passage(dice: random.Random) -> str:
    """A text that the documented API takes: not blank, and not longer than it says."""
    found = text(dice)[:10_000]
    return found if found.strip() else "panda"


def options(dice: random.Random) -> ScoreOptions:
    named = dice.sample(sorted(CHOICES), k=dice.randint(0, 4))
    return ScoreOptions(**{name: dice.choice(CHOICES[name]) for name in named})


def outcome(score: Callable[[], Any]) -> Any:
    """What a call gives: its value, or the code of its error."""
    try:
        return score()
    except RerankError as error:
        return error.code


def by_client(dice: random.Random, target: Target) -> tuple[Any, Any]:
    """The client sends whatever options there are; all of the answer is compared."""
    query, documents, asked = text(dice), [text(dice) for _ in range(dice.randint(0, 12))], options(dice)
    return (
        outcome(lambda: target.remote.score(query, documents, options=asked)),
        outcome(lambda: target.model.score(query, documents, options=asked)),
    )


def by_pairs(dice: random.Random, target: Target) -> tuple[Any, Any]:
    """The documented API takes pairs of different queries."""
    pairs = [Pair(passage(dice), passage(dice)) for _ in range(dice.randint(1, 8))]
    body = {"pairs": [{"query": query, "passage": passage} for query, passage in pairs], "normalize": True}
    return ask(target, "/rerank/batch", body)["scores"], list(target.model.score_pairs(pairs).values)


def by_dialect(dice: random.Random, target: Target) -> tuple[Any, Any]:
    """Each vendor's language: scores by the documents' positions."""
    query, documents = text(dice), [text(dice) for _ in range(dice.randint(1, 8))]
    raw, cap = dice.random() < 0.5, dice.choice((None, 10, 300))
    given, texts = {"model": "m", "documents": documents}, {"texts": documents, "raw_scores": raw}
    passages = [{"text": document} for document in documents]
    capped = given if cap is None else given | {"max_tokens_per_doc": cap}
    path, body, asked = dice.choice(
        [
            ("/v1/rerank", capped | {"raw_scores": raw}, ScoreOptions(raw=raw, max_document_tokens=cap)),
            ("/cohere/v2/rerank", capped, ScoreOptions(max_document_tokens=cap)),
            ("/vllm/rerank", capped, ScoreOptions(max_document_tokens=cap)),
            ("/jina/v1/rerank", given, ScoreOptions()),
            ("/voyage/v1/rerank", given, ScoreOptions()),
            ("/xinference/v1/rerank", given, ScoreOptions()),
            ("/infinity/rerank", given | {"raw_scores": raw}, ScoreOptions(raw=raw)),
            ("/llamacpp/rerank", given, ScoreOptions(raw=True)),
            ("/tei/rerank", texts, ScoreOptions(raw=raw)),
            ("/nim/v1/ranking", {"model": "m", "passages": passages}, ScoreOptions(raw=True)),
        ]
    )
    sent = {"text": query} if path.startswith("/nim") else query
    answer = ask(target, path, {"query": sent} | body)
    rows = (
        answer if isinstance(answer, list) else next(answer[k] for k in ("results", "data", "rankings") if k in answer)
    )
    scores = {row["index"]: next(row[k] for k in ("relevance_score", "score", "logit") if k in row) for row in rows}
    found = [scores[index] for index in range(len(documents))]
    return (path, found), (path, list(target.model.score(query, documents, options=asked).values))


def ask(target: Target, path: str, body: object) -> Any:
    response = httpx.post(target.url + path, json=body, timeout=60)
    assert response.status_code == 200, f"{path}: {response.status_code} {response.text[:300]}"
    return response.json()


ROADS = (by_client, by_client, by_pairs, by_dialect)


def run_case(seed: int, number: int, targets: list[Target]) -> None:
    dice = random.Random(f"{seed} {number}")
    road, target = dice.choice(ROADS), dice.choice(targets)
    found, expected = road(dice, target)
    assert found == expected, f"run it again with FUZZ_SEED={seed} FUZZ_CASE={number} ({road.__name__})"


def test_every_road_gives_the_bits_of_the_model_in_this_process(
    targets: list[Target], fuzzing: Any, report: Callable[[str], None]
) -> None:
    if fuzzing.case is not None:
        run_case(fuzzing.seed, fuzzing.case, targets)
        return
    end, numbers, done = time.monotonic() + fuzzing.seconds, count(), 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while time.monotonic() < end or not done:
            for case in [threads.submit(run_case, fuzzing.seed, next(numbers), targets) for _ in range(4 * AT_ONCE)]:
                case.result()
            done += 4 * AT_ONCE
    report(f"{done} requests with FUZZ_SEED={fuzzing.seed}")


def test_another_model_behind_the_server_is_noticed(targets: list[Target]) -> None:
    mixed = [Target(targets[0].model, targets[1].url, targets[1].remote)]

    def notice() -> None:
        for number in range(20):
            run_case(0, number, mixed)

    with pytest.raises(AssertionError, match="FUZZ_CASE"):
        notice()
