"""What the command and the process of a system say to each other: JSON, one object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rerank_core.errors import ModelError, RerankError, error_class
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run.answers import Answer, Event, Loaded
from rerank_core.evaluation.run.systems import System


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is started for: a query with its documents, for each question."""

    system: System
    questions: tuple[tuple[str, tuple[str, ...]], ...]


def write_task(system: System, questions: Sequence[Question]) -> str:
    """A task as text."""
    asked = [[question.query, question.documents] for question in questions]
    return json.dumps({"system": asdict(system), "questions": asked})


def read_task(text: str) -> Task:
    """What ``write_task`` wrote."""
    content = json.loads(text)
    questions = tuple((query, tuple(documents)) for query, documents in content["questions"])
    return Task(System(**content["system"]), questions)


def write_event(event: Event) -> str:
    """What happened, as a line."""
    return json.dumps({"loaded" if isinstance(event, Loaded) else "answer": asdict(event)})


def write_error(error: RerankError) -> str:
    """What went wrong, as a line."""
    return json.dumps({"error": {"code": error.code, "message": str(error)}})


def read_event(line: str) -> Event:
    """What ``write_event`` wrote. Raises what ``write_error`` was given, as the same class."""
    content: dict[str, Any] = json.loads(line)
    if "error" in content:
        kind = error_class(content["error"]["code"]) or ModelError
        raise kind(content["error"]["message"])
    if "loaded" in content:
        return Loaded(**content["loaded"])
    answer = content["answer"]
    return Answer(tuple(answer["scores"]), answer["seconds"], answer["cpu_seconds"], answer["memory"])
