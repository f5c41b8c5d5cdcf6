"""The messages between the command and the process of a system: JSON, one object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rerank_core.errors import ModelError, RerankError, error_class
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run.answers import Answer, Event, LoadedModel
from rerank_core.evaluation.run.systems import System
from rerank_core.load_options import LoadOptions


@dataclass(frozen=True, slots=True)
class Task:
    """The input of a process: a query with its documents, for each question."""

    system: System
    questions: tuple[tuple[str, tuple[str, ...]], ...]


def write_task(system: System, questions: Sequence[Question]) -> str:
    """Write a task as text."""
    asked = [[question.query, question.documents] for question in questions]
    return json.dumps({"system": asdict(system), "questions": asked})


def read_task(text: str) -> Task:
    """Read what ``write_task`` wrote."""
    content = json.loads(text)
    questions = tuple((query, tuple(documents)) for query, documents in content["questions"])
    system = content["system"]
    return Task(System(**system | {"load": LoadOptions(**system["load"])}), questions)


def write_event(event: Event) -> str:
    """Write an event as a line."""
    return json.dumps({"loaded" if isinstance(event, LoadedModel) else "answer": asdict(event)})


def write_error(error: RerankError) -> str:
    """Write an error as a line."""
    return json.dumps({"error": {"code": error.code, "message": str(error)}})


def read_event(line: str) -> Event:
    """Read what ``write_event`` wrote. Raises what ``write_error`` was given, as the same class."""
    content: dict[str, Any] = json.loads(line)
    if "error" in content:
        kind = error_class(content["error"]["code"]) or ModelError
        raise kind(content["error"]["message"])
    if "loaded" in content:
        return LoadedModel(**content["loaded"])
    answer = content["answer"]
    return Answer(tuple(answer["scores"]), answer["seconds"], answer["cpu_seconds"], answer["memory"])
