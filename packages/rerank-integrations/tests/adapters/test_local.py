import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from rerank_core.errors import CheckpointError, InvalidRequest
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions, Scores
from rerank_integrations.adapters.local import ascore, local_scorer


class Blocking:
    """A ``Scorer`` that holds its thread, as a model in this process does."""

    def __init__(self, model: OverlapModel) -> None:
        self._model = model
        self.threads: set[threading.Thread] = set()

    def score(self, query: str, documents: Iterable[str], options: ScoreOptions | None = None) -> Scores:
        self.threads.add(threading.current_thread())
        return self._model.score(query, documents, options)


def test_a_model_is_loaded_with_its_options(checkpoint: Path) -> None:
    scorer = local_scorer(str(checkpoint), max_length=32)

    assert scorer.score("panda", ["panda " * 50]).usage.tokens == 32


def test_a_model_that_cannot_be_loaded_is_the_error_of_the_core(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra 'local' is not installed")

    with pytest.raises(CheckpointError):
        local_scorer(str(tmp_path))


def test_the_address_of_a_server_is_named_with_what_takes_it_and_without_its_password() -> None:
    with pytest.raises(InvalidRequest, match=r"^h:8000 is an address.*: use from_url"):
        local_scorer("http://me:secret@h:8000")


async def test_a_model_in_this_process_never_holds_the_event_loop(overlap: OverlapModel) -> None:
    """Were it to, the gate would never open."""
    scorer = Blocking(overlap)
    overlap.gate.clear()
    waiting = asyncio.create_task(ascore(scorer, "panda", ["a panda"], ScoreOptions(raw=True)))
    await asyncio.to_thread(overlap.started.wait, 30)

    overlap.gate.set()

    assert await waiting == overlap.score("panda", ["a panda"], ScoreOptions(raw=True))
    assert threading.main_thread() not in scorer.threads


async def test_a_scorer_that_can_wait_is_awaited(overlap: OverlapModel) -> None:
    class Waiting(Blocking):
        async def ascore(self, query: str, documents: Iterable[str], options: ScoreOptions | None = None) -> Scores:
            return await overlap.ascore(query, documents, options)

    scorer = Waiting(overlap)

    assert await ascore(scorer, "panda", ["a panda"], None) == overlap.score("panda", ["a panda"])
    assert scorer.threads == set()
