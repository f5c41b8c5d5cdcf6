import gc
import json
import sys

import pytest
from rerank_core import CheckpointError, EngineError, InvalidRequest, remote
from rerank_core.errors import error_class
from rerank_core.evaluation.data.collection import Question
from rerank_core.evaluation.run import run as run_module
from rerank_core.evaluation.run.answers import Answer, Event, LoadedModel
from rerank_core.evaluation.run.memory import PeakMemory, own_memory
from rerank_core.evaluation.run.processes import measure
from rerank_core.evaluation.run.scorers import open_scorer
from rerank_core.evaluation.run.systems import System
from rerank_core.evaluation.run.wire import read_event, read_task, write_error, write_event, write_task
from rerank_core.evaluation.run.worker import answers
from rerank_core.load_options import LoadOptions
from rerank_core.testing.doubles import OverlapModel
from rerank_core.types import ScoreOptions

QUESTIONS = [
    Question(id="1", query="giant panda", candidates=("a", "b"), documents=("the giant panda", "none"), grades={}),
    Question(id="2", query="panda", candidates=(), documents=(), grades={}),
]


def asked(questions: list[Question]) -> list[tuple[str, tuple[str, ...]]]:
    return [(question.query, question.documents) for question in questions]


def test_the_first_question_is_scored_once_before_the_clock_runs():
    model, ticks, cpu_ticks = OverlapModel(), iter([1.0, 1.5]), iter([7.0, 7.25])

    loaded, first, second = answers(
        model,
        LoadedModel(model="overlap", device="cpu"),
        asked(QUESTIONS),
        ScoreOptions(raw=True),
        memory=lambda: 5,
        clock=lambda: next(ticks),
        cpu_clock=lambda: next(cpu_ticks),
    )

    assert len(model.forwards) == 2
    assert loaded == LoadedModel(model="overlap", device="cpu")
    assert first == Answer(
        model.score("giant panda", QUESTIONS[0].documents, ScoreOptions(raw=True)).values, 0.5, 0.25, 5
    )
    assert second == Answer((), 0.0, 0.0, 5)


def test_a_server_names_its_model_with_its_first_answer_and_works_elsewhere():
    loaded, first, _ = answers(
        OverlapModel(name="theirs"), None, asked(QUESTIONS), ScoreOptions(raw=True), memory=lambda: None
    )

    assert loaded == LoadedModel(model="theirs")
    assert isinstance(first, Answer)
    assert first.cpu_seconds is None


def test_tasks_and_events_come_out_as_they_went_in():
    system = System(model="a", dtype="int8", max_length=64, load=LoadOptions(label="yes", threads=2))
    task = read_task(write_task(system, QUESTIONS))
    events = [LoadedModel(model="a", max_length=9), Answer((1.5, -0.25), 0.5, 0.4, None)]

    assert (task.system, list(task.questions)) == (system, asked(QUESTIONS))
    assert [read_event(write_event(event)) for event in events] == events


@pytest.mark.parametrize("kind", [InvalidRequest, CheckpointError, EngineError])
def test_an_error_keeps_its_class_and_its_words(kind):
    with pytest.raises(kind, match="seven of nine"):
        read_event(write_error(kind("seven of nine")))
    assert error_class(kind.code) is kind


@pytest.fixture(scope="module")
def measured(tiny) -> list[Event]:
    """A model's events, from a process of its own."""
    return list(measure(System(model=str(tiny("bert")), load=LoadOptions(device="cpu", threads=1)), QUESTIONS))


def test_a_model_runs_in_a_process_of_its_own(measured, tiny):
    loaded, first, second = measured

    assert isinstance(loaded, LoadedModel)
    assert (loaded.model, loaded.dtype, loaded.engine) == (str(tiny("bert")), "float32", "packed")
    assert isinstance(first, Answer)
    assert len(first.scores) == 2
    assert first.memory is None or first.memory > 1_000_000
    assert second == Answer((), 0.0, 0.0, second.memory)


def test_its_scores_and_its_fingerprint_are_those_of_the_model(measured, tiny_model):
    model = tiny_model("bert")
    loaded, first, _ = measured

    assert loaded.fingerprint == model.fingerprint()
    assert first.scores == model.score("giant panda", QUESTIONS[0].documents, ScoreOptions(raw=True)).values


def test_what_cannot_be_loaded_is_said_as_load_says_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        list(measure(System(model=str(tmp_path)), QUESTIONS))


CRASH = "import sys, os; sys.stdin.read(); print({line!r}, flush=True); os.kill(os.getpid(), {signal})"


def test_a_process_that_is_killed_says_how_far_it_came():
    line = write_event(Answer((1.0, 2.0), 0.1, None, 1))
    command = [sys.executable, "-c", CRASH.format(line=line, signal=9)]
    given = measure(System(model="a"), QUESTIONS, command)

    assert next(given) == Answer((1.0, 2.0), 0.1, None, 1)
    with pytest.raises(EngineError, match=r"was ended by SIGKILL \(memory may have run out\) after 1 of 2 queries"):
        next(given)


@pytest.mark.parametrize("body", ["import sys; sys.exit(3)", "import sys; sys.stdin.read(); sys.exit(3)"])
def test_a_process_that_ends_at_once_says_with_which_code(body):
    many = QUESTIONS * 20_000  # more than a pipe holds

    with pytest.raises(EngineError, match="ended with code 3 after 0 of 40000 queries"):
        list(measure(System(model="a"), many, [sys.executable, "-c", body]))


def test_the_process_ends_with_whoever_asks():
    body = (
        "import sys; sys.stdin.read(); print(sys.argv[1], flush=True); sys.stdin.close(); import signal; signal.pause()"
    )
    given = measure(
        System(model="a"), QUESTIONS, [sys.executable, "-c", body, write_event(Answer((), 0.0, None, None))]
    )
    next(given)

    given.close()  # waits for it: a process that stays would hang the test


def test_an_error_of_a_library_keeps_the_documents_out(fresh_python):
    """Its words may hold a text: the kind of error and its place are enough."""
    code = """
import rerank_core.evaluation.run.worker as worker
class Broken:
    def score(self, query, documents, *, options):
        raise ValueError(f"cannot read {documents[0]}")
worker.open_scorer = lambda system: (Broken(), None)
print("a library's chatter")
worker.main()
"""
    done = fresh_python("-c", code, stdin=write_task(System(model="a"), QUESTIONS))

    said = json.loads(done.stdout.splitlines()[-1])["error"]
    assert said["code"] == "engine_error"
    assert said["message"].startswith("ValueError at ")
    assert "panda" not in done.stdout + done.stderr


def test_what_a_library_prints_is_no_event(fresh_python):
    code = """
import rerank_core.evaluation.run.worker as worker
from rerank_core.testing.doubles import OverlapModel
def open_scorer(system):
    print("chatter")
    return OverlapModel(), None
worker.open_scorer = open_scorer
worker.main()
"""
    done = fresh_python("-c", code, stdin=write_task(System(model="a"), QUESTIONS))

    assert done.returncode == 0, done.stderr
    assert "chatter" in done.stderr
    events = [read_event(line) for line in done.stdout.splitlines()]
    assert len(events) == 3
    assert events[1].memory is None  # of a server, which this stands for


def test_memory_is_the_most_that_there_was():
    if own_memory() is None:
        pytest.skip("SKIPPED LOUDLY: this system does not count a process's own memory")
    gc.collect()  # what other tests have left must not be freed in between
    with PeakMemory() as peak:
        before = peak.bytes()
        block = bytearray(200_000_000)
        block[::4096] = b"x" * len(block[::4096])
        during = peak.bytes()
        del block

        assert during - before > 100_000_000
        assert peak.bytes() >= during


def test_a_server_is_asked_through_the_client_that_is_installed(monkeypatch):

    class Entry:
        def load(self):
            return lambda url: OverlapModel(name=url)

    monkeypatch.setattr(remote, "entry_points", lambda *, group, name: [Entry()])
    scorer, loaded = open_scorer(System(url="http://here"))
    assert loaded is None
    assert scorer.score("a", ["a"]).model == "http://here"

    monkeypatch.setattr(remote, "entry_points", lambda *, group, name: [])
    with pytest.raises(ImportError, match="--url needs rerank-integrations"):
        open_scorer(System(url="http://here"))


def test_a_server_whose_model_changed_is_another_system(monkeypatch):

    served = OverlapModel(name="one")
    monkeypatch.setattr(run_module, "remote_scorer", lambda url: served)
    system = System(url="http://here")
    before = run_module.Fingerprints().of(system, QUESTIONS)

    assert run_module.Fingerprints().of(system, QUESTIONS) == before
    served = OverlapModel(name="two")
    assert run_module.Fingerprints().of(system, QUESTIONS) != before
