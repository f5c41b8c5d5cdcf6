"""The answers of one system to the questions. Plain data."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run.systems import System


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """The model that really runs: a server says no more than its name.

    ``fingerprint``: the model's own, of all that decides its scores.
    """

    model: str
    kind: str | None = None
    engine: str | None = None
    device: str | None = None
    dtype: str | None = None
    max_length: int | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's answer.

    - ``scores``: raw, one per candidate, in their order.
    - ``seconds``: of wall clock that scoring took; ``cpu_seconds``: of the process's own CPU time, all its threads
      together, where the work is done there.
    - ``memory``: the most bytes of memory that the system's own process had until then; None where it is not known.
    """

    scores: tuple[float, ...]
    seconds: float
    cpu_seconds: float | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class SystemRun:
    """The model that was loaded, and one answer per question, in their order."""

    loaded: LoadedModel
    answers: tuple[Answer, ...]

    @property
    def pairs(self) -> int:
        """The number of pairs that were scored."""
        return sum(len(answer.scores) for answer in self.answers)

    @property
    def pairs_per_second(self) -> float | None:
        """The speed of scoring, one question after the other; None where no time passed."""
        return self.pairs / self.seconds if self.seconds > 0 else None

    @property
    def cpu_seconds(self) -> float | None:
        """The process's CPU time of scoring; None where the work is done elsewhere."""
        spent = [answer.cpu_seconds for answer in self.answers if answer.cpu_seconds is not None]
        return sum(spent) if len(spent) == len(self.answers) else None

    @property
    def seconds(self) -> float:
        """The wall-clock seconds that scoring took."""
        return sum(answer.seconds for answer in self.answers)

    @property
    def memory(self) -> int | None:
        """The most bytes that the system's own process had."""
        return max((answer.memory for answer in self.answers if answer.memory is not None), default=None)


Event: TypeAlias = LoadedModel | Answer


class Measure(Protocol):
    """Asks a system: gives what was loaded, then one answer per question, in their order."""

    def __call__(self, system: System, questions: Sequence[Question]) -> Generator[Event, None, None]:
        """Yield the events. Raises ``RerankError`` where the system fails; what was given before it is valid."""
        ...
