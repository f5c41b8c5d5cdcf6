"""The capacity plan's formulae: textbook values, and a simulation of the same queue."""

import heapq
import importlib
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "size.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def planning() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("capacity_plan")


@pytest.fixture
def demand(planning: Any) -> Callable[..., Any]:
    def make(**changed: float) -> Any:
        usual = {
            "pairs_per_day": 1e7,
            "peak": 3,
            "documents": 20,
            "variation": 1,
            "growth": 0.1,
            "latency": 15,
            "share": 0.95,
            "busiest": 0.8,
        }
        return planning.Demand(**(usual | changed))

    return make


def simulated_waits(servers: int, arrivals: float, seconds: float, count: int) -> list[float]:
    """Of random arrivals, with random exponential work, first come first served."""
    dice = random.Random(5)
    free_at, now, waits = [0.0] * servers, 0.0, []
    for _ in range(count):
        now += dice.expovariate(arrivals)
        begins = max(now, heapq.heappop(free_at))
        heapq.heappush(free_at, begins + dice.expovariate(1 / seconds))
        waits.append(begins - now)
    return sorted(waits)


@pytest.mark.parametrize(
    ("servers", "offered", "chance"), [(1, 0.3, 0.3), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9), (1000, 500.0, 0.0)]
)
def test_the_chance_to_wait_is_erlangs(planning: Any, servers: int, offered: float, chance: float) -> None:
    assert planning.waiting_chance(servers, offered) == pytest.approx(chance, abs=1e-9)


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.7), (4, 0.9), (20, 0.95)])
def test_waits_are_those_of_a_simulated_queue(planning: Any, servers: int, busy: float) -> None:
    waits = simulated_waits(servers, busy * servers / 2.0, 2.0, 200_000)

    wait = planning.wait(servers, busy * servers / 2.0, 2.0, variation=1, share=0.95)

    assert wait == pytest.approx(waits[int(0.95 * len(waits))], rel=0.1)


@pytest.mark.parametrize("latency", [6.5, 8, 15])
def test_one_sidecar_fewer_would_be_late_or_too_busy(planning: Any, demand: Callable[..., Any], latency: float) -> None:
    replica, asked = planning.Replica(3.2, 0.1, 60), demand(latency=latency)
    found = planning.plan(replica, asked, spare=1)
    seconds = asked.documents / replica.pairs_per_second

    fewer = found.replicas - 1
    late = seconds + planning.wait(fewer, asked.requests_per_second, seconds, 1, asked.share) > latency

    assert found.answered <= latency
    assert found.busy <= 0.8
    assert late or asked.requests_per_second * seconds / fewer > 0.8


def test_what_one_sidecar_cannot_do_in_time_no_number_of_them_can(planning: Any, demand: Callable[..., Any]) -> None:
    with pytest.raises(
        planning.Impossible, match=r"20 passages takes 6\.2 s on an idle replica, and may take 3 s: use"
    ):
        planning.plan(planning.Replica(3.2, 0.1, 60), demand(latency=3), spare=1)


def test_whoever_starts_slowly_has_to_start_early(planning: Any, demand: Callable[..., Any]) -> None:
    at = [planning.plan(planning.Replica(3.2, 0.1, start), demand(), spare=1).scale_at for start in (0, 60, 300)]

    assert at == pytest.approx([0.8, 0.8 / 1.1, 0.8 / 1.1**5], rel=0.01)


Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(planning: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the script: its exit code, and what it printed and complained of."""

    def go(arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["capacity_plan.py", *arguments.split()])
        code = planning.main()
        return code, *capsys.readouterr()

    return go


def rows(printed: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"][
        2:
    ]


def test_the_first_answer_is_for_models_that_are_usual_on_a_cpu(run: Run) -> None:
    code, printed, complaint = run("--requests-per-second 10 --passages 20")

    assert code == 0
    assert [(row[0], row[3]) for row in rows(printed)] == [
        ("MiniLM (23 M), float32", "4 + 1"),
        ("MiniLM (23 M), int8", "2 + 1"),
        ("bge-reranker-v2-m3 (568 M), int8", "17 + 1"),
        ("bge-reranker-v2-m3 (568 M), float32", "too slow"),
    ]
    assert complaint.startswith("\nbge-reranker-v2-m3 (568 M), float32: one request of 20 passages takes 7.1 s")


def test_ten_times_the_requests_take_about_ten_times_the_replicas_of_ones_own(run: Run) -> None:
    _, printed, _ = run("--pairs-per-second 50 --requests-per-second 10 100 --passages 50")

    assert [row[0] for row in rows(printed)] == ["yours", "yours"]
    few, many = (int(row[3].split(" + ")[0].replace(",", "")) for row in rows(printed))
    assert 8 <= many / few <= 10


def test_half_the_passages_take_half_the_replicas(run: Run) -> None:
    counts = []
    for passages in (20, 40):
        _, printed, _ = run(f"--pairs-per-second 50 --requests-per-second 100 --passages {passages}")
        counts.append(int(rows(printed)[0][3].split(" + ")[0]))

    assert counts[1] == pytest.approx(2 * counts[0], rel=0.1)


def test_where_no_model_is_fast_enough_the_code_is_1_and_says_why(run: Run) -> None:
    code, _, complaint = run("--pairs-per-second 2.8 --latency 1")

    assert code == 1
    assert "use fewer passages" in complaint


def test_speeds_of_smaller_dtypes_are_those_of_the_page_of_performance(planning: Any) -> None:
    """The ratios to float32, in the table that `make charts` writes."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    found = re.search(r"^\| `int8` \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE)
    speeds = planning.MEASURED

    assert found is not None
    for model, ratio in ((planning.LARGE, found[1]), (planning.SMALL, found[2])):
        assert speeds[model, "int8"] / speeds[model, "float32"] == pytest.approx(float(ratio), rel=0.02)


COMMANDS = re.findall(r"^    python benchmarks/capacity_plan\.py (--.*)$", PAGE, re.MULTILINE)


def test_the_page_shows_two_plans() -> None:
    assert len(COMMANDS) == 2


@pytest.mark.parametrize(
    "arguments", ["--share 1", "--busiest 1", "--requests-per-second 5 0", "--passages -1", "--growth -1"]
)
def test_a_figure_that_cannot_be_is_refused(planning: Any, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["capacity_plan.py", *arguments.split()])

    with pytest.raises(SystemExit, match="2"):
        planning.main()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_the_page_shows_what_its_commands_print(run: Run, arguments: str) -> None:
    code, printed, _ = run(arguments)

    assert code == 0
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert f"capacity_plan.py {arguments}\n\n" + "\n".join(table) in PAGE
