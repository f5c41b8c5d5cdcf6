"""The processes that systems run in, seen from the one that asks them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from peers import files_of, interpreter
from resident import available

_WORKER = Path(__file__).parent / "worker.py"


class Worker:
    """A system's process, on cores of its own with a thread for each. Raises ``RuntimeError`` where it ends."""

    def __init__(
        self, system: str, checkpoint: Path, *, max_length: int, cores: Sequence[int], log: Path, python: str
    ) -> None:
        core_list = ",".join(str(core) for core in cores)
        self._log = log
        self._process = subprocess.Popen(
            [python, str(_WORKER), system, str(checkpoint), str(max_length), core_list],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=os.environ
            | {"OMP_NUM_THREADS": str(len(cores)), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )
        self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer of ``worker.py``: to a query and documents, or to ``gemm`` or ``memory``."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"it ended with status {self._process.wait()}: {last_words(self._log.read_text())}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def start(systems: Sequence[str], checkpoint: Path, *, max_length: int, core: int, logs: Path) -> dict[str, Worker]:
    """Every system that can be started here, each on the same core; what cannot is said, loudly.

    All exports are made first, when no system holds memory yet.
    """
    files, workers = {}, {}
    for system in systems:
        try:
            files[system] = files_of(system, checkpoint)
        except (OSError, subprocess.CalledProcessError) as error:
            say_skipped(system, error)
    for number, (system, directory) in enumerate(files.items()):
        try:
            _check_memory(directory)
            workers[system] = Worker(
                system,
                directory,
                max_length=max_length,
                cores=[core],
                log=logs / f"{number}.log",
                python=interpreter(system),
            )
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            say_skipped(system, error)
    return workers


def _check_memory(directory: Path) -> None:
    """Raise ``RuntimeError`` where loading would take the memory of systems that run already, or of other programs.

    While it loads, a system holds its weights twice: as they lie in the file, and as it computes with them.
    """
    largest = max(file.stat().st_size for file in directory.iterdir())
    free = available()
    if free is not None and 2 * largest > free:
        raise RuntimeError(
            f"it may take {2 * largest / 1e9:.1f} GB, {free / 1e9:.1f} GB are available: measure fewer with --systems"
        )


def start_threads(system: str, checkpoint: Path, *, max_length: int, cores: Sequence[int], logs: Path) -> list[Worker]:
    """One worker with one thread, one with two, up to as many as there are cores, each on the first of them.

    A process each: torch's number of threads is taken over when a model is loaded. Raises ``RuntimeError``.
    """
    return [
        Worker(
            system,
            checkpoint,
            max_length=max_length,
            cores=cores[:count],
            log=logs / f"{count}.log",
            python=interpreter(system),
        )
        for count in range(1, len(cores) + 1)
    ]


def close_all(workers: Iterable[Worker]) -> None:
    """End them all."""
    for worker in workers:
        worker.close()


def say_skipped(what: str, why: object) -> None:
    """Say, loudly, what was not measured."""
    print(f"SKIPPED LOUDLY: {what} was not measured: {why}", file=sys.stderr, flush=True)


def last_words(log: str) -> str:
    """A traceback's last line, which says what went wrong."""
    lines = log.split("\n")
    said = [text for text in lines if text.strip()]
    return said[-1].strip() if said else "it said nothing"
