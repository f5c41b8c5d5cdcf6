"""What a new user sees first: `make demo`."""

import json
import math
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


def rows(out: str) -> list[tuple[int, float, float, str]]:
    """The rows of the table: rank, raw score, score, and the text that is shown, its lines joined again."""
    table = out[out.index("rank ") :].partition("\n\n")[0].partition("\n")[2]
    split = re.split(r"^ *(\d+) +(-?\d\.\d{4}) +(\d\.\d{4})  ", table, flags=re.MULTILINE)[1:]
    fields = zip(*[iter(split)] * 4, strict=True)
    return [(int(place), float(raw), float(score), " ".join(text.split())) for place, raw, score, text in fields]


def test_the_demo_puts_the_three_passages_that_answer_the_question_on_top_and_shows_them_whole(
    finished: Finished,
) -> None:
    demo, out, err = finished

    assert demo.returncode == 0, err
    assert [place for place, *_ in rows(out)] == list(range(1, len(passages()) + 1))
    relevant = {text for text, answers in passages() if answers}
    assert len(relevant) == 3
    assert {text for *_, text in rows(out)[:3]} == relevant


def test_the_demo_shows_whole_sentences(finished: Finished) -> None:
    _, out, _ = finished

    for *_, shown in rows(out):
        assert shown.endswith(".")
        assert sum(text.startswith(shown) for text, _ in passages()) == 1


def test_the_demo_shows_raw_scores_and_scores_and_says_what_they_mean(finished: Finished) -> None:
    _, out, _ = finished

    raws = [raw for _, raw, _, _ in rows(out)]
    scores = [score for _, _, score, _ in rows(out)]
    assert raws == sorted(raws, reverse=True)
    assert scores == pytest.approx([1 / (1 + math.exp(-raw)) for raw in raws], abs=1e-4)
    said = " ".join(out.split())
    assert "raw is the cosine" in said
    assert "docs/scores.md" in said


@pytest.mark.parametrize("columns", [60, 200])
def test_the_demo_fits_the_terminal(columns: int) -> None:
    demo = start(COLUMNS=str(columns))
    out, err = finish(demo)

    assert demo.returncode == 0, err
    longest = max(len(line) for line in out[out.index("rank ") :].splitlines())
    assert 50 < longest <= min(columns, 100)


def test_the_demo_says_what_ranked_and_how_to_go_on(finished: Finished) -> None:
    _, out, _ = finished

    assert "bi-encoder, lite" in out
    assert out.splitlines()[-2].startswith("Next: MODEL_NAME=lite make serve")


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
