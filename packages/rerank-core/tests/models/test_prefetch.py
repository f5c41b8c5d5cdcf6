import contextlib
import threading

import pytest
from rerank_core.models.prefetch import prefetch


def test_results_come_in_the_order_of_the_parts():
    assert list(prefetch(lambda part: part * 2, range(5))) == [0, 2, 4, 6, 8]
    assert list(prefetch(lambda part: part * 2, [])) == []


def test_the_next_part_is_worked_on_while_the_last_result_is_used():
    begun = threading.Event()

    def work(part: int) -> int:
        if part == 1:
            begun.set()
        return part

    results = prefetch(work, range(2))

    assert next(results) == 0
    assert begun.wait(10)


def test_a_single_part_needs_no_thread():
    (name,) = prefetch(lambda _: threading.current_thread().name, [0])

    assert name == threading.current_thread().name


def test_an_error_is_raised_when_its_part_comes():
    def work(part: int) -> float:
        return 1 / part

    results = prefetch(work, [1, 2, 0])

    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_where_there_can_be_no_more_threads_the_work_is_done_all_the_same(monkeypatch):
    """As in the very last moments of a process, or where a container allows no more."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)

    assert list(prefetch(lambda part: part * 2, range(5))) == [0, 2, 4, 6, 8]


def test_whoever_stops_early_leaves_no_work_behind():
    began, ended = threading.Event(), []

    def work(part: int) -> int:
        if part:
            began.set()
            ended.append(part)
        return part

    with contextlib.closing(prefetch(work, range(5))) as results:
        next(results)
        began.wait(10)

    assert ended == [1]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
