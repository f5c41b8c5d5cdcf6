"""The process of one system: ``python -m`` this module, a task on its input, events on its output."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from time import perf_counter, process_time

from rerank_core.errors import EngineError, RerankError
from rerank_core.evaluation.run.answers import Answer, Event, LoadedModel
from rerank_core.evaluation.run.memory import PeakMemory
from rerank_core.evaluation.run.scorers import open_scorer
from rerank_core.evaluation.run.wire import Task, read_task, write_error, write_event
from rerank_core.scorer import Scorer
from rerank_core.types import ScoreOptions


def answers(
    scorer: Scorer,
    loaded: LoadedModel | None,
    questions: Sequence[tuple[str, Sequence[str]]],
    options: ScoreOptions,
    *,
    memory: Callable[[], int | None],
    clock: Callable[[], float] = perf_counter,
    cpu_clock: Callable[[], float] = process_time,
) -> Generator[Event, None, None]:
    """Yield what was loaded, then one answer per question. Raises as ``Scorer.score``.

    The first question with documents is scored once before the clock runs: what is set up once is no scoring time.
    """
    first = next(((query, documents) for query, documents in questions if documents), None)
    warm = scorer.score(*first, options=options) if first else None
    loaded = loaded or LoadedModel(model=warm.model if warm else "")
    yield loaded
    works_here = loaded.device == "cpu"
    for query, documents in questions:
        if not documents:
            yield Answer((), 0.0, 0.0 if works_here else None, memory())
            continue
        began, cpu_began = clock(), cpu_clock()
        values = scorer.score(query, documents, options=options).values
        seconds, cpu_seconds = clock() - began, cpu_clock() - cpu_began
        yield Answer(values, seconds, cpu_seconds if works_here else None, memory())


def _run(task: Task, say: Callable[[str], None]) -> None:
    try:
        with PeakMemory() as memory:
            scorer, loaded = open_scorer(task.system)
            # A server's memory is not ours to see.
            used = memory.bytes if loaded else lambda: None
            for event in answers(scorer, loaded, task.questions, task.system.options(), memory=used):
                say(write_event(event))
    except BrokenPipeError:  # nobody listens any more
        raise
    except RerankError as error:
        say(write_error(error))
    except Exception as error:
        say(write_error(EngineError(_without_text(error))))


def _without_text(error: Exception) -> str:
    """Describe an error by its class and place: the words of a library's error may be a document's."""
    words = f": {error}" if isinstance(error, OSError) else ""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}{words} at {place.filename}:{place.lineno} in {place.name}"


def main() -> int:
    """Do the task. The command that started this process ends it; an interrupt is the command's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints goes to standard error: standard output is for events.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(line: str) -> None:
        events.write(f"{line}\n")

    task = read_task(sys.stdin.buffer.read().decode())
    try:
        _run(task, say)
    except BrokenPipeError:
        os._exit(1)  # Python would complain of it once more
    return 0


if __name__ == "__main__":
    sys.exit(main())
