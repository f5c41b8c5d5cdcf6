"""What a new user sees first: `make demo`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "examples" / "demo"
LIMIT = 100  # seconds

Finished: TypeAlias = tuple[subprocess.Popen[str], str, str]


def start(**settings: str) -> subprocess.Popen[str]:
    """The demo, in a process group of its own, which its server belongs to as well."""
    command = [sys.executable, str(DEMO / "demo.py")]
    environment = os.environ | {"COLUMNS": "80"} | settings
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def finish(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote to both streams, once it has ended."""
    try:
        return demo.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(demo.pid, signal.SIGKILL)
        raise


def is_gone(demo: subprocess.Popen[str]) -> bool:
    """Whether no process of the demo's group is left."""
    try:
        os.killpg(demo.pid, 0)
    except ProcessLookupError:
        return True
    return False


def passages() -> list[tuple[str, bool]]:
    """The sample: each text, and whether it answers the question."""
    lines = (DEMO / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    return [(record["text"], record.get("relevant", False)) for record in map(json.loads, lines)]


@pytest.fixture(scope="module")
def finished() -> Finished:
    """A demo that ran to its end, and what it wrote to both streams."""
    demo = start(FORCE_COLOR="1")
    return demo, *finish(demo)


def test_the_demo_puts_the_three_passages_that_answer_the_question_on_top(finished: Finished) -> None:
    demo, out, err = finished

    assert demo.returncode == 0, err
    rows = re.findall(r"^ +(\d+)  (\d\.\d{4})  (\S.*) \.\.\.$", out, re.MULTILINE)
    assert [int(rank) for rank, _, _ in rows] == list(range(1, len(passages()) + 1))
    assert [score for _, score, _ in rows] == sorted((score for _, score, _ in rows), reverse=True)
    relevant = [text for text, answers in passages() if answers]
    assert len(relevant) == 3
    assert {text for _, _, row in rows[:3] for text in relevant if text.startswith(row)} == set(relevant)


def test_the_demo_says_what_ranked_and_how_to_go_on(finished: Finished) -> None:
    _, out, _ = finished

    assert "bi-encoder, lite" in out
    assert "make serve" in out.splitlines()[-1]


def test_the_demo_leaves_no_process_behind(finished: Finished) -> None:
    demo, _, _ = finished

    assert is_gone(demo)


def test_the_demo_writes_plain_text_in_80_columns_where_no_terminal_is(finished: Finished) -> None:
    _, out, err = finished

    assert not [line for line in (out + err).splitlines() if len(line) > 80]
    assert not re.search(r"[^\n\x20-\x7e]", out + err)


def test_a_server_that_does_not_start_ends_the_demo_with_its_own_last_words() -> None:
    demo = start(CORS_ORIGINS="not an origin")
    _, err = finish(demo)

    assert demo.returncode == 1
    assert "CORS_ORIGINS" in err
    assert "Traceback" not in err


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """A shell lets what it starts in the background ignore SIGINT, and whoever is started by that too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_stops_its_server(number: int) -> None:
    demo = start()
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("Starting a server")

    demo.send_signal(number)
    _, err = finish(demo)

    assert demo.returncode == 130
    assert is_gone(demo)
    assert err == ""


def test_shared_words_alone_do_not_find_the_passages_that_answer() -> None:
    question = (DEMO / "question.txt").read_text(encoding="utf-8")
    shared = [len(_words(question) & _words(text)) for text, _ in passages()]

    by_words = sorted(range(len(shared)), key=lambda index: -shared[index])

    assert sum(passages()[index][1] for index in by_words[:3]) < 3


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))
