"""Whole data sets on a Ray cluster, with Ray Data's pool of actors.

The unit of work is a file. Ray Data deals the *names* of files to its actors, each of which has loaded the model once,
and an actor reads, scores and writes its file as one process does alone (``batch.run.score_file``): whole, under a
temporary name, and then renamed. Ray Data reading and writing the rows itself would be parallel within a file, but
loses what this keeps: rows in their order, one file for each input, and files that are done when the job dies. An actor
that dies is started again, and its file with it; what it had written is nobody's, so that no row is there twice.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from rerank_core.errors import InvalidRequest, MissingExtra, RerankError, error_class
from rerank_core.scorer import Scorer

from rerank_integrations.batch.files import Task
from rerank_integrations.batch.job import Job
from rerank_integrations.batch.run import Advance, Done, Summary, score_file, score_files
from rerank_integrations.batch.run_manifest import Identity, identify

_OBJECT_STORE = 128 << 20  # bytes; names of files and counts of rows are all that goes through it
_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}
_OS_ERROR = "os_error"
# What Ray says of every run; the second warns of the progress bar that we ask it to leave out, and show ourselves.
_QUIET = {"ray.data": logging.WARNING, "ray.data._internal.progress": logging.ERROR}

_Result = TypeVar("_Result", Done, Identity)


def score_files_on_ray(
    source: str | Path,
    target: str | Path,
    scorer: Scorer,
    job: Job | None = None,
    *,
    address: str = "local",
    actors: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    progress: bool = False,
) -> Summary:
    """Score files as ``batch.score_files`` does, on a Ray cluster, with the same files at the end.

    - ``scorer``: is pickled, and so should load its model late, as ``ModelScorer`` does, with ``threads=cpus``.
    - ``address``: ``host:port`` of a cluster; ``auto`` for the one that runs here; ``local`` for a new one that ends
      with the run. Ray that is initialised already is used as it is.
    - ``actors``: how many copies of the model; None: as many as the cluster has room for, and not more than files.
    - ``cpus``, ``gpus``: that an actor takes.

    Files are dealt out, so there should be several for each actor. All machines need the same packages, and the files
    and the model under the same paths.

    Raises as ``batch.score_files``, and ``MissingExtra`` where Ray is not installed.
    """
    ray = _import("ray")
    with _cluster(ray, address):
        pool = _Pool(ray, actors=actors, cpus=cpus, gpus=gpus)
        return score_files(source, target, scorer, job, run=pool.run, identified=pool.identify, progress=progress)


class _Pool:
    def __init__(self, ray: Any, *, actors: int | None, cpus: int, gpus: float) -> None:
        self._ray = ray
        # Ray Data wants one or the other.
        self._takes = {"num_gpus": gpus} if gpus else {"num_cpus": cpus}
        self._actors = actors
        room = min(int(ray.cluster_resources().get(_RESOURCES[name], 0) // size) for name, size in self._takes.items())
        if room < (actors or 1):
            raise InvalidRequest(
                f"the cluster has room for {room} actors that take {self._takes}, not for {actors or 1}: "
                "use fewer, or let each take less"
            )
        self._room = room

    def identify(self, scorer: Scorer) -> Identity:
        """Ask where the model will run: the machine is part of its identity."""
        remote = self._ray.remote(max_calls=1, **self._takes)(_identity)  # the process ends, and its model with it
        return _from_json(self._ray.get(remote.remote(scorer)), Identity)

    def run(self, tasks: Sequence[Task], job: Job, scorer: Scorer, advance: Advance) -> Iterator[Done]:
        """Score files as a ``Run``: each goes to whichever actor is free, the largest first, so none is late alone."""
        if not tasks:
            return
        data = _import("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        for name, level in _QUIET.items():
            logging.getLogger(name).setLevel(level)
        ordered = sorted(tasks, key=lambda task: task.source.stat().st_size, reverse=True)
        items = [{"source": str(task.source), "target": str(task.target)} for task in ordered]
        size = min(self._actors or self._room, len(items))
        # A block a file: it is what Ray deals out, and does again where an actor dies.
        files = data.from_items(items, override_num_blocks=len(items)).map(
            _FileScorer,
            fn_constructor_kwargs={"job": job, "scorer": scorer},
            compute=data.ActorPoolStrategy(size=size),
            **self._takes,
        )
        for row in files.iter_rows():
            done = _from_json(row["outcome"], Done)
            advance(done.rows)
            yield done


class _FileScorer:
    """Scores files in an actor. The model is loaded with the first file, once, by the scorer."""

    def __init__(self, job: Job, scorer: Scorer) -> None:
        self._job = job
        self._scorer = scorer

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = Task(Path(row["source"]), Path(row["target"]))
        return {"outcome": _to_json(lambda: score_file(task, self._job, self._scorer))}


def _identity(scorer: Scorer) -> str:
    return _to_json(lambda: identify(scorer))


def _to_json(work: Callable[[], Done | Identity]) -> str:
    """Do the work and write its outcome, errors too: Ray would wrap them, and try again what can never succeed."""
    try:
        return json.dumps({"result": asdict(work())})
    except RerankError as error:
        return json.dumps({"code": error.code, "message": str(error)})
    except OSError as error:
        return json.dumps({"code": _OS_ERROR, "message": str(error)})


def _from_json(text: str, kind: type[_Result]) -> _Result:
    """Read what ``_to_json`` wrote. Raises what was raised there."""
    outcome = json.loads(text)
    if "result" in outcome:
        return kind(**outcome["result"])
    if outcome["code"] == _OS_ERROR:
        raise OSError(outcome["message"])
    raise (error_class(outcome["code"]) or RerankError)(outcome["message"])


@contextmanager
def _cluster(ray: Any, address: str) -> Iterator[None]:
    """Run Ray while the block runs: what is there already is used, and left as it is."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # its telemetry
    here = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE} if address == "local" else {}
    ray.init(address=address, logging_level=logging.WARNING, **here)
    try:
        yield
    finally:
        ray.shutdown()


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != "ray":
            raise
        raise MissingExtra("Ray is not installed: pip install 'rerank-integrations[ray]'") from missing
