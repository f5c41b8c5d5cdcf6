"""Asks systems for the answers that the cache lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version

from rerank_core.checkpoints.manifest import digest
from rerank_core.checkpoints.sources import locate
from rerank_core.evaluation.data.collection import Collection, Question, digest_of
from rerank_core.evaluation.run.answers import Answer, LoadedModel, Measure, SystemRun
from rerank_core.evaluation.run.cache import Cache, CacheEntry
from rerank_core.evaluation.run.systems import System
from rerank_core.remote import remote_scorer

_KEPT_EVERY = 50  # answers: a process that is killed loses no more of a system that takes hours


class Fingerprints:
    """Hashes that tell one system from another before it is loaded; each model's files are read once."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str | None], str] = {}

    def of(self, system: System, questions: Sequence[Question]) -> str:
        """Hash a model's files, or a server's answer to the first question.

        A server keeps its address when its model changes: its model's name and its scores, to three places, tell.
        Raises where the model is not to be had, or the server does not answer.
        """
        if system.model is not None:
            name = (system.model, system.load.revision)
            if name not in self._digests:
                self._digests[name] = digest(locate(*name).directory)
            return self._digests[name]
        asked = next((question for question in questions if question.documents), None)
        if asked is None:
            return ""
        said = remote_scorer(system.url or "").score(asked.query, asked.documents, options=system.options())
        return digest_of(said.model, *(f"{value:.3f}" for value in said.values))


def cache_key(system: System, fingerprint: str, machine: str) -> str:
    """Name a system's answers by all that decides its scores, its speed and its memory."""
    return digest_of(json.dumps(asdict(system), sort_keys=True), fingerprint, machine, version("rerank-core"))[:32]


def collection_key(collection: Collection) -> str:
    """Name a collection's answers."""
    return f"{collection.name}-{collection.digest[:12]}"


def missing(known: CacheEntry | None, questions: Sequence[Question]) -> list[Question]:
    """List the questions without an answer, each distinct one once."""
    answers = known.answers if known else {}
    return list({question.digest: question for question in questions if question.digest not in answers}.values())


def run(
    system: System,
    questions: Sequence[Question],
    *,
    cache: Cache,
    place: tuple[str, str],
    measure: Measure,
    tick: Callable[[], None] = lambda: None,
) -> SystemRun:
    """Get a system's answers to all questions, from the cache's ``place`` (collection, key) where it has them.

    ``tick`` is called for each question that is answered. Answers are kept now and then, and also where the system
    fails after them, or the user interrupts. Raises as ``Measure``.
    """
    known = cache.read(*place)
    unknown = missing(known, questions)
    loaded = known.loaded if known else None
    answers = dict(known.answers) if known else {}
    if unknown:
        new: dict[str, Answer] = {}
        waiting = iter(unknown)
        try:
            with closing(measure(system, unknown)) as events:
                for event in events:
                    if isinstance(event, LoadedModel):
                        loaded = event
                    elif loaded is not None:
                        new[next(waiting).digest] = event
                        tick()
                        if len(new) % _KEPT_EVERY == 0:
                            cache.write(*place, CacheEntry(loaded, new))
        finally:
            if loaded is not None and new:
                cache.write(*place, CacheEntry(loaded, new))
        answers |= new
    if loaded is None:
        raise RuntimeError("a system answered without saying what it is")
    return SystemRun(loaded, tuple(answers[question.digest] for question in questions))
