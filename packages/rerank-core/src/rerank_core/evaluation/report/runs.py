"""Writes the rankings of the systems as TREC runs, one file each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rerank_core.atomic_write import write_text
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.data.trec_run import format_run
from rerank_core.evaluation.judge.measures import order
from rerank_core.evaluation.run.answers import SystemRun


def write_runs(folder: Path, questions: Sequence[Question], systems: Iterable[tuple[str, SystemRun]]) -> list[Path]:
    """Write the run of each labelled system into a file that is named after it, with raw scores, and list the files.

    Raises ``InvalidRequest`` for ids that cannot be written, and ``OSError``.
    """
    files: list[Path] = []
    for label, run in systems:
        rankings = {
            question.id: [(question.candidates[place], answer.scores[place]) for place in order(answer.scores)]
            for question, answer in zip(questions, run.answers, strict=True)
        }
        stem = re.sub(r"[^\w.-]+", "-", label).strip("-.") or "system"
        taken = {file.stem for file in files}
        name = next(one for one in (stem, *(f"{stem}-{number}" for number in range(2, 99999))) if one not in taken)
        files.append(folder / f"{name}.run")
        write_text(files[-1], format_run(rankings, label))
    return files
