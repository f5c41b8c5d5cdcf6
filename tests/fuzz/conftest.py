"""How long the fuzzers run, from which seed, and what they say at the end."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

_LINES = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True)
class Fuzzing:
    """FUZZ_SECONDS, FUZZ_SEED, and FUZZ_CASE where only one is to be run again."""

    seconds: float
    seed: int
    case: int | None


@pytest.fixture(scope="session")
def fuzzing() -> Fuzzing:
    """What the environment says; without it a short run that is always the same."""
    case = os.environ.get("FUZZ_CASE")
    return Fuzzing(
        float(os.environ.get("FUZZ_SECONDS", "3")),
        int(os.environ.get("FUZZ_SEED", "0")),
        None if case is None else int(case),
    )


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the end of pytest's output."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the lines."""
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long run is no hang."""
    for item in items:
        if "fuzz" in item.path.parts:
            item.add_marker(pytest.mark.timeout(float(os.environ.get("FUZZ_SECONDS", "3")) + 300))
