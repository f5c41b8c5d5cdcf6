"""Runs a system in a process of its own: its memory is its own, and where it crashes nobody else does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import suppress

from rerank_core.errors import EngineError
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run.answers import Answer, Event
from rerank_core.evaluation.run.systems import System
from rerank_core.evaluation.run.wire import read_event, write_task

# -P: no module of the folder where the command runs may take a library's place.
_COMMAND = (sys.executable, "-P", "-m", "rerank_core.evaluation.run.worker")


def measure(
    system: System, questions: Sequence[Question], command: Sequence[str] = _COMMAND
) -> Generator[Event, None, None]:
    """See ``answers.Measure``. The process ends with the generator.

    Raises what went wrong in the process, and ``EngineError`` where it ended before its last answer.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process was started without pipes")
    answered = 0
    try:
        with suppress(BrokenPipeError):  # it ended at once: how is said below
            process.stdin.write(write_task(system, questions))
            process.stdin.close()
        for line in process.stdout:
            event = read_event(line)
            answered += isinstance(event, Answer)
            yield event
        code = process.wait()
        if answered < len(questions):
            raise EngineError(
                f"its process {_ending(code)} after {answered} of {len(questions)} queries; what it said is above"
            )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _ending(code: int) -> str:
    """Describe how a process ended."""
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"was ended by {name}" + (" (memory may have run out)" if name == "SIGKILL" else "")
    return f"was ended by signal {-code}"
