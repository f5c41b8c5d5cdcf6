"""Small collections, in both layouts, and the real ones of ../shared where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from rerank_core import RerankError
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run.answers import Event, LoadedModel
from rerank_core.evaluation.run.systems import System
from rerank_core.evaluation.run.worker import answers
from rerank_core.testing.doubles import OverlapModel

REPOSITORY = Path(__file__).resolve().parents[4]

DOCUMENTS = {
    "d1": ("Bears", "the giant panda is a bear species endemic to china"),
    "d2": ("", "paris is the capital of france"),
    "d3": ("Trains", "mountains in central switzerland"),
    "d4": ("", "bamboo"),
}
QUERIES = {"q1": "giant panda bear", "q2": "capital of france", "q3": "where is switzerland", "q4": "hello world"}
GRADES = {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}, "q3": {"d3": 1, "d4": 1}, "q4": {"d1": 0}}
CANDIDATES = {"q1": ["d2", "d1", "d4"], "q2": ["d2", "d3"], "q3": ["d4", "d1", "d3"]}


def json_lines(objects: Sequence[object]) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in objects)


def write_texts(folder: Path) -> None:
    folder.mkdir(parents=True)
    documents = [{"_id": name, "title": title, "text": text} for name, (title, text) in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text(json_lines(documents))
    (folder / "queries.jsonl").write_text(json_lines([{"_id": name, "text": text} for name, text in QUERIES.items()]))


def judgements() -> str:
    lines = [f"{query}\t{document}\t{grade}\n" for query, own in GRADES.items() for document, grade in own.items()]
    return "query-id\tcorpus-id\tscore\n" + "".join(lines)


@pytest.fixture
def flat(tmp_path) -> Path:
    """A collection with its judgements and candidates beside its texts."""
    folder = tmp_path / "small"
    write_texts(folder)
    (folder / "qrels.tsv").write_text(judgements())
    listed = [
        {"query_id": query, "candidates": [{"id": name, "score": 9.0 - place} for place, name in enumerate(ids)]}
        for query, ids in CANDIDATES.items()
    ]
    (folder / "candidates.jsonl").write_text(json_lines(listed))
    return folder


@pytest.fixture
def beir(tmp_path) -> Path:
    """The same texts and judgements as BEIR lays them out."""
    folder = tmp_path / "beir" / "small"
    write_texts(folder)
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text(judgements())
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


@pytest.fixture(scope="session")
def shared_collection() -> Callable[[str], Path]:
    """A collection of ../shared/data (or $SHARED_DIR/data); the test is skipped, loudly, where it is missing."""
    root = Path(os.environ.get("SHARED_DIR", REPOSITORY.parent / "shared"))

    def find(name: str) -> Path:
        path = root / "data" / name
        if not path.is_dir():
            pytest.skip(f"SKIPPED LOUDLY: needs the collection {name} in ../shared/data (or $SHARED_DIR/data)")
        return path

    return find


class Measuring:
    """A ``Measure`` without processes: every model counts words.

    ``asked`` holds each system's questions, by its model; ``fail`` says after how many answers a model fails, and how.
    """

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {}
        self.fail: dict[str, tuple[int, BaseException]] = {}

    def __call__(self, system: System, questions: Sequence[Question]) -> Generator[Event, None, None]:
        name = str(system.model)
        self.asked[name] = [question.id for question in questions]
        ticks = iter(range(1000))
        given = answers(
            OverlapModel(name=name),
            LoadedModel(model=name, dtype="float32", fingerprint="f"),
            [(question.query, question.documents) for question in questions],
            system.options(),
            memory=lambda: 1_000_000,
            clock=lambda: float(next(ticks)),
        )
        most, error = self.fail.get(name, (1000, RerankError()))
        for number, event in enumerate(given):
            if number > most:  # the first is what was loaded
                raise error
            yield event

    def count(self) -> int:
        """How many questions were asked, of all systems together."""
        return sum(map(len, self.asked.values()))


@pytest.fixture
def measuring() -> Measuring:
    return Measuring()


@pytest.fixture
def models(tmp_path) -> Callable[[str], str]:
    """Directories that stand for models."""

    def make(name: str) -> str:
        directory = tmp_path / "models" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.safetensors").write_text(name)
        return str(directory)

    return make
