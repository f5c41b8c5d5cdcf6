"""Models beside a fork and the end of the process: each program here is a process of its own, and ends by itself."""

import threading

import numpy as np
import pytest
from rerank_core import DeviceError
from rerank_core.forking import PerProcess, current_process, running
from rerank_core.models.local import LocalModel
from rerank_core.testing.language_models import write_tiny_language_model

# Each child ends by an alarm where nobody answers, and never returns into the program.
PROGRAM = """
import atexit, ctypes, os, signal, sys, threading
first = []  # to do at the very end: exit functions run in the reverse order of their registration
atexit.register(lambda: [work() for work in first])
import rerank_core
from rerank_core import Pair

QUERY = "a panda"
DOCUMENTS = ["bamboo", "a panda eats bamboo", "paris is the capital of france", "panda " * 30, ""]
MANY = [f"panda {number} " * 3 for number in range(600)]  # more than are tokenised at once

def in_child(work, fork=os.fork):
    child = fork()
    if not child:
        signal.alarm(60)
        try:
            os._exit(0 if work() else 3)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(4)
    return child

def finish(*children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
"""


@pytest.fixture
def program(fresh_python):
    """Run a program after ``PROGRAM``; it has to end by itself, and to say nothing but that all is right."""

    def run(source, *arguments, **env):
        ended = fresh_python("-c", PROGRAM + source, *map(str, arguments), env=env)
        assert (ended.stdout.split(), ended.returncode) == (["right"], 0), ended.stdout + ended.stderr
        return ended

    return run


@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_a_model_that_was_loaded_and_used_before_a_fork_scores_the_same_in_parent_and_children(program, tiny, engine):
    """The threads that computed are the parent's only; so are those that OpenMP made for it."""
    program(
        """
import torch
for directory, threads in ((sys.argv[2], 2), (sys.argv[3], 1)):
    model = rerank_core.load(directory, engine=sys.argv[1], threads=threads)
    torch.ones(600, 600) @ torch.ones(600, 600)  # the host's own work in several threads
    same = lambda: model.score(QUERY, DOCUMENTS + MANY) == wanted
    unused = in_child(lambda: model.score(QUERY, DOCUMENTS + MANY).usage.pairs == 605)
    wanted = model.score(QUERY, DOCUMENTS + MANY)
    grandchild = lambda: same() and finish(in_child(same)) == [0] and same()
    children = [in_child(same), in_child(grandchild), in_child(same)]
    assert same()
    assert finish(unused, *children) == [0] * 4
print("right")
""",
        engine,
        tiny("bert"),
        tiny("roberta", "bi-encoder"),
    )


def test_a_child_computes_and_frees_prefixes_of_its_own(program, tmp_path):
    """What a thread of the parent holds would never be freed in the child."""
    program(
        """
from rerank_core.types import ScoreOptions, SharedPrefix
model = rerank_core.load(sys.argv[1], engine="packed", recipe="qwen3-reranker", threads=2)
kept = lambda: len(model._engine._prefixes.get())
sequences = [found.sequences[0] for found in model.encode(QUERY, DOCUMENTS, ScoreOptions())]
held = SharedPrefix()
compute = lambda: model.forward(sequences, [held] * len(sequences))
wanted, scores = compute(), model.score(QUERY, MANY)
assert kept() == 1

def same():
    before = kept()
    right = compute() == wanted and model.score(QUERY, MANY) == scores
    return right and (before, kept()) == (0, 1)

assert finish(in_child(same), in_child(same)) == [0, 0]
assert kept() == 1
del held
assert kept() == 0
print("right")
""",
        write_tiny_language_model(tmp_path),
    )


def test_each_dtype_scores_the_same_after_a_fork(program, tiny):
    program(
        """
for dtype in ("float16-weights", "int8", "bfloat16"):
    try:
        model = rerank_core.load(sys.argv[1], dtype=dtype, threads=2)
    except rerank_core.InvalidRequest:  # not on this processor
        continue
    wanted = model.score(QUERY, DOCUMENTS)
    def is_the_same():
        found = model.score(QUERY, DOCUMENTS)
        if found != wanted:
            print([one - other for one, other in zip(found.values, wanted.values)], flush=True)
        return found == wanted
    ended = finish(in_child(is_the_same))
    assert ended == [0], (dtype, ended)
print("right")
""",
        tiny("bert"),
    )


def test_a_fork_in_a_thread_while_others_score_leaves_no_child_waiting(program, tiny):
    program(
        """
model = rerank_core.load(sys.argv[1], threads=2)
wanted = model.score(QUERY, MANY)
over = threading.Event()
def score():
    while not over.is_set():
        assert model.score(QUERY, MANY) == wanted
others = [threading.Thread(target=score) for _ in range(3)]
for other in others:
    other.start()
ended = []
def fork():
    children = [in_child(lambda: model.score(QUERY, MANY) == wanted) for _ in range(3)]
    ended.extend(finish(*children))
fork()
thread = threading.Thread(target=fork)
thread.start()
thread.join()
over.set()
for other in others:
    other.join()
assert ended == [0] * 6, ended
print("right")
""",
        tiny("bert"),
    )


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_the_tokenizer_works_after_a_fork_whatever_its_own_variable_says(program, tiny, parallel):
    """With its threads switched on by hand, a batch in a child would wait for those of the parent for ever."""
    program(
        """
model = rerank_core.load(sys.argv[1], threads=1)
wanted = model.score(QUERY, MANY)
assert finish(in_child(lambda: model.score(QUERY, MANY) == wanted)) == [0]
print("right")
""",
        tiny("bert"),
        TOKENIZERS_PARALLELISM=parallel,
    )


def test_a_fork_that_python_hears_nothing_of_is_a_fork_all_the_same(program, tiny):
    """As that of a server which is written in C and embeds Python."""
    program(
        """
model = rerank_core.load(sys.argv[1], threads=1)
wanted = model.score(QUERY, DOCUMENTS)
assert finish(in_child(lambda: model.score(QUERY, DOCUMENTS) == wanted, ctypes.PyDLL(None).fork)) == [0]
print("right")
""",
        tiny("bert"),
    )


def test_a_child_that_ends_like_any_program_ends(program, tiny):
    """Its exit functions run, and what they wait for must be its own."""
    program(
        """
model = rerank_core.load(sys.argv[1], threads=1)
model.score(QUERY, MANY)
if not (child := os.fork()):
    signal.alarm(60)
    model.score(QUERY, MANY)
    sys.exit(0)
assert finish(child) == [0]
print("right")
""",
        tiny("bert"),
    )


@pytest.mark.parametrize("engine", ["packed", "reference"])
def test_a_thread_goes_on_scoring_after_the_main_thread_has_ended_and_so_do_exit_functions(program, tiny, engine):
    ended = program(
        """
import weakref
said = []
def check(name):
    if model.score(QUERY, MANY) == wanted:
        said.append(name)
def finish_late():
    threading.main_thread().join()
    check("thread")
class Owner: pass
owner = Owner()
model = rerank_core.load(sys.argv[1], engine=sys.argv[2], threads=1)
wanted = model.score(QUERY, MANY)
first.append(lambda: (check("early"), print("right" if said == ["thread", "late", "finalizer", "early"] else said)))
weakref.finalize(owner, check, "finalizer")
atexit.register(check, "late")
threading.Thread(target=finish_late).start()
""",
        tiny("bert"),
        engine,
    )
    assert ended.stderr == ""


def test_a_daemon_thread_that_scores_does_not_keep_the_process_nor_break_its_end(program, tiny):
    """The end waits for what is being computed: a library's thread that is killed in the middle aborts the process."""
    ended = program(
        """
model = rerank_core.load(sys.argv[1], threads=2)
begun = threading.Event()
def score():
    while True:
        model.score(QUERY, MANY)
        begun.set()
for _ in range(3):
    threading.Thread(target=score, daemon=True).start()
begun.wait(60)
print("right", flush=True)
""",
        tiny("bert"),
    )
    assert ended.stderr == ""


def test_a_model_on_a_device_says_after_a_fork_that_it_has_to_be_loaded_there(tiny_model, monkeypatch):
    class Device:
        name = "fake"
        batch_tokens = 64

        def cost(self, sequences):
            return sum(map(len, sequences))

        def forward(self, batch):
            return np.zeros((len(batch.lengths), 1), dtype=np.float32)

    real = tiny_model("bert")
    for device, fails in (("cuda:1", True), ("mps", True), ("cpu", False)):
        info = type(real.info)(name="m", engine="fake", device=device, dtype="float32", max_length=64)
        model = LocalModel(real._task, Device(), info, real.fingerprint)
        assert model.score("a", ["b"]).values == (0.5,)
        with monkeypatch.context() as patched:
            patched.setattr("rerank_core.forking._forks", 1)
            if fails:
                with pytest.raises(DeviceError, match=f"{device} before .* forked.*load the model after.*'spawn'"):
                    model.score("a", ["b"])
            else:
                assert model.score("a", ["b"]).values == (0.5,)


def test_each_process_makes_its_own_value_once(monkeypatch):
    made = []
    own = PerProcess(lambda: made.append(current_process()) or object())

    first = own.get()
    assert own.get() is first
    monkeypatch.setattr("rerank_core.forking._forks", 1)
    assert own.get() is not first
    assert len(set(made)) == len(made) == 2


def test_work_inside_work_of_the_same_thread_does_not_wait_for_itself():
    with running(), running():
        pass
    done = threading.Event()

    def run() -> None:
        with running():
            done.set()

    threading.Thread(target=run).start()
    assert done.wait(10)
