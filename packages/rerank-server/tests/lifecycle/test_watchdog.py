"""Which thread is stuck, which is only slow, and when the process has to end."""

from collections.abc import Callable

import pytest
from rerank_server.inference.progress import Progress
from rerank_server.lifecycle.watchdog import TICK, Watchdog, stacks, time_limit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Timer:
    """A deadman that only says what it was told."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def arm(self, seconds: float) -> None:
        self.seconds = seconds

    def disarm(self) -> None:
        self.seconds = None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(clock)


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def watchdog(clock: Clock, progress: Progress, timer: Timer) -> Watchdog:
    return Watchdog({"compute": progress, "tokenize": Progress(clock)}, limit=60.0, exit_timer=timer, clock=clock)


@pytest.fixture
def wait(clock: Clock, watchdog: Watchdog) -> Callable[[float], str]:
    """Lets time pass as it does where the event loop turns, and gives the last verdict."""

    def wait(seconds: float) -> str:
        end = clock.now + seconds
        while clock.now < end:
            clock.now = min(end, clock.now + TICK)
            watchdog.tick()
        return watchdog.verdict

    return wait


def finish(progress: Progress, clock: Clock, seconds: float, size: int = 100) -> None:
    with progress.working(size):
        clock.now += seconds


def test_an_idle_thread_is_fine(wait) -> None:
    assert wait(1e4) == "healthy"


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (0.01, 5.0),  # a machine that is busy for a moment
        (1.0, 20.0),
        (3.0, 60.0),
        (10.0, 60.0),
        (20.0, 100.0),  # a slow machine
        (None, 600.0),  # the first batch: it may compile
    ],
)
def test_a_thread_has_twenty_times_the_longest_of_late_and_a_slow_machine_has_time(longest, expected) -> None:
    assert time_limit(60.0, longest) == expected


def test_an_operator_may_be_less_patient() -> None:
    assert time_limit(1.0, 0.01) == 1.0
    assert time_limit(1.0, None) == 10.0


def test_a_batch_that_does_not_end_is_stuck_then_lost(wait, progress, clock) -> None:
    finish(progress, clock, 0.01)
    with progress.working(100):
        assert wait(4.5) == "healthy"
        assert wait(1.5) == "stuck"
        assert wait(3.5) == "stuck"
        assert wait(1.5) == "lost"


def test_a_batch_that_ends_after_all_is_fine_again(wait, progress, clock, watchdog) -> None:
    finish(progress, clock, 0.01)
    with progress.working(100):
        assert wait(6) == "stuck"
        assert watchdog.age > 5
        assert "the compute thread has worked on one batch for 6 s" in watchdog.reason

    assert wait(TICK) == "healthy"
    assert watchdog.age == 0


def test_a_thread_that_does_one_short_batch_after_the_other_is_fine(wait, progress) -> None:
    for _ in range(100):
        with progress.working(100):
            assert wait(1.0) == "healthy"


def test_a_batch_a_hundred_times_as_large_has_a_hundred_times_as_long(wait, progress, clock) -> None:
    finish(progress, clock, 0.05, size=80)
    with progress.working(8000):
        assert wait(59) == "healthy"
        assert wait(2) == "stuck"


def test_a_large_batch_is_measured_by_large_ones_however_slow_small_ones_are_by_the_token(
    wait, progress, clock
) -> None:
    """A batch of 10 tokens takes half a second, most of which is overhead: 8192 such tokens would be seven minutes."""
    finish(progress, clock, 0.5, size=10)
    finish(progress, clock, 2.0, size=8192)
    finish(progress, clock, 0.5, size=10)
    with progress.working(8192):
        assert wait(39) == "healthy"
        assert wait(2) == "stuck"


def test_a_batch_larger_than_any_before_has_no_longer_than_the_first(wait, progress, clock) -> None:
    finish(progress, clock, 0.5, size=10)
    with progress.working(8192):
        assert wait(599) == "healthy"
        assert wait(2) == "stuck"


def test_a_slow_machine_has_its_time_also_for_a_batch_larger_than_any_before(wait, progress, clock) -> None:
    finish(progress, clock, 200, size=4000)
    with progress.working(8000):
        assert wait(999) == "healthy"
        assert wait(2) == "stuck"


def test_the_first_batch_has_ten_times_the_limit(wait, progress) -> None:
    with progress.working(8000):
        assert wait(599) == "healthy"
        assert wait(2) == "stuck"


def test_a_process_that_was_paused_is_not_stuck(progress, clock, watchdog, wait) -> None:
    finish(progress, clock, 0.01)
    with progress.working(100):
        wait(1)
        clock.now += 3600
        assert watchdog.tick() == "healthy"
        assert wait(1) == "healthy"


def test_what_was_slow_long_ago_is_forgotten(wait, progress, clock) -> None:
    finish(progress, clock, 30)
    for _ in range(64):
        finish(progress, clock, 0.01)
    with progress.working(100):
        assert wait(6) == "stuck"


def test_the_timer_that_needs_no_interpreter_is_armed_before_the_work_begins_and_not_while_idle(
    wait, progress, clock, timer
) -> None:
    finish(progress, clock, 0.01)
    assert timer.seconds == 120.0
    wait(TICK)
    assert timer.seconds is None


def test_the_timer_is_put_off_while_python_runs_however_long_a_batch_takes(wait, progress, timer, monkeypatch) -> None:
    armed = []
    monkeypatch.setattr(timer, "arm", armed.append)
    with progress.working(8000):
        wait(300)

    assert len(armed) >= 300 / 7
    assert set(armed) == {120.0}


def test_a_process_that_ends_is_ended_all_the_same(wait, progress, timer, watchdog) -> None:
    with progress.working(100):
        wait(1)
        watchdog.end_within(10)
        wait(5)

    assert timer.seconds == 10


def test_stacks_say_where_every_thread_is_and_no_values() -> None:
    secret = "do " + "not tell"

    said = stacks()

    assert "thread MainThread:" in said
    assert "test_stacks_say_where_every_thread_is_and_no_values" in said
    assert secret not in said
