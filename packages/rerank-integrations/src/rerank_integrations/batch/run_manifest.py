"""The manifest of a run, in the folder of its scores: model and job, so that no folder holds scores of two."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_core.atomic_write import write_text
from rerank_core.errors import InvalidRequest
from rerank_core.scorer import Scorer
from rerank_core.types import ScoreOptions

from rerank_integrations.batch.files import data_files
from rerank_integrations.batch.job import Job

NAME = "_rerank.json"  # what begins with _ is no data, to Spark and to pyarrow also


@dataclass(frozen=True, slots=True)
class Identity:
    """The model that scores: its name, and the fingerprint that tells it from every other, where it is known."""

    model: str
    fingerprint: str | None


def identify(scorer: Scorer) -> Identity:
    """Ask a scorer for its identity. Raises what its first score raises, so that a run fails before it begins."""
    model = scorer.score("Does it score?", ["It does."]).model
    fingerprint = getattr(scorer, "fingerprint", None)
    return Identity(model, fingerprint() if fingerprint else None)


def open_run(folder: Path, identity: Identity, job: Job) -> None:
    """Begin a run in a folder, or go on with it: write its manifest, or check that it is this run's.

    Raises ``InvalidRequest`` for a folder that holds scores of another model or job, or files of somebody else's.
    """
    ours = _settings(identity, job)
    path = folder / NAME
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if folder.is_dir() and (found := data_files(folder)):
            raise InvalidRequest(
                f"{folder} holds {found[0].name}, and no {NAME} that says what made it: use another folder"
            ) from None
        write_text(path, json.dumps(ours, indent=2) + "\n")
        return
    except ValueError as error:
        raise InvalidRequest(f"{path} is damaged ({error}): use another folder") from error
    if differences := _differences(theirs, ours):
        raise InvalidRequest(f"{folder} holds scores of another run ({', '.join(differences)}): use another folder")


def _settings(identity: Identity, job: Job) -> dict[str, Any]:
    """Collect all that decides what is in a file; ``on_error`` does not, as a skipped row never has a score."""
    defaults = asdict(ScoreOptions())
    return {
        "model": identity.model,
        "fingerprint": identity.fingerprint,
        "options": {name: value for name, value in asdict(job.options).items() if value != defaults[name]},
        "columns": asdict(job.columns),
        "score": job.score,
        "rerank": job.rerank,
        "group": job.group_column if job.rerank else None,
        "top_n": job.top_n,
    }


def _differences(theirs: Any, ours: dict[str, Any]) -> list[str]:
    if not isinstance(theirs, dict):
        return ["of an unknown kind"]
    # The same files may lie under another name, and have the same fingerprint.
    same_files = ours["fingerprint"] is not None and theirs.get("fingerprint") == ours["fingerprint"]
    return [
        f"{name} is {_short(theirs.get(name))} there, {_short(value)} here"
        for name, value in ours.items()
        if theirs.get(name) != value and not (name == "model" and same_files)
    ]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
