"""From a folder to a report, with systems that count words."""

from pathlib import Path

import pytest
from rerank_core import CheckpointError, EngineError, InvalidRequest
from rerank_core.evaluation.evaluate import Evaluation, Request, evaluate
from rerank_core.evaluation.judge.calibrate import calibrate
from rerank_core.evaluation.run import run as run_module
from rerank_core.evaluation.run.cache import Cache
from rerank_core.evaluation.run.systems import System


class Steps:
    """A ``Progress`` that remembers."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.description = ""

    def read(self, description: str) -> None:
        self.description = description

    def begin(self, queries: int) -> None:
        self.said.append(queries)

    def system(self, label: str) -> None:
        self.said.append(label)

    def asked(self) -> None:
        self.said.append(".")


@pytest.fixture
def run(tmp_path, measuring):
    """Evaluates models on a folder, with one cache."""

    def go(folder: Path, *names: str, steps: Steps | None = None, **options: object) -> Evaluation:
        request = Request(data=folder, systems=[System(model=name) for name in names], **options)
        return evaluate(request, Cache(tmp_path / "cache"), steps or Steps(), measure=measuring)

    return go


def test_bm25_and_the_order_as_given_stand_above_the_systems(flat, run, models):
    rows = {row.label: row for row in run(flat, models("a"), models("b")).report.rows}

    assert list(rows) == ["BM25", "as given", "a", "b"]
    # As given: q1's document is second of three, q2's first, and q3's two relevant ones first and third.
    assert rows["as given"].mrr == pytest.approx((0.5 + 1 + 1) / 3)
    assert rows["BM25"].mrr == 1.0
    assert rows["a"].difference is None
    assert (rows["b"].difference, rows["b"].interval) == (0.0, (0.0, 0.0))


def test_without_a_file_bm25_retrieves_the_candidates(beir, run, models):
    report = run(beir, models("a")).report

    assert [row.label for row in report.rows] == ["BM25", "a"]
    assert report.setting.candidates == "BM25"
    assert report.setting.candidate_recall == pytest.approx((1 + 1 + 0.5) / 3)


def test_bm25_may_be_asked_for_where_a_file_is(flat, run, models):
    assert [row.label for row in run(flat, models("a"), candidates="bm25").report.rows] == ["BM25", "a"]


def test_another_file_may_hold_the_candidates(flat, run, models, tmp_path):
    (tmp_path / "dense.run").write_text("q1 Q0 d1 1 9 dense\n")

    report = run(flat, models("a"), candidates=str(tmp_path / "dense.run")).report

    assert report.setting.queries == ("q1",)
    assert report.setting.candidates == "dense.run"


def test_a_second_run_asks_nothing_and_says_the_same(flat, run, models, measuring):
    first = run(flat, models("a"))
    assert measuring.count() == 3
    measuring.asked.clear()

    steps = Steps()
    second = run(flat, models("a"), steps=steps)

    assert measuring.count() == 0
    assert steps.said == [0, "a"]
    assert second == first


def test_a_second_run_asks_only_the_new_system(flat, run, models, measuring):
    run(flat, models("a"))
    measuring.asked.clear()

    run(flat, models("a"), models("b"))

    assert measuring.asked == {models("b"): ["q1", "q2", "q3"]}


def test_more_queries_ask_only_the_new_ones(flat, run, models, measuring):
    run(flat, models("a"), queries=2)
    steps = Steps()

    run(flat, models("a"), queries=3, steps=steps)

    assert measuring.asked[models("a")] == ["q3"]
    assert steps.said == [1, "a", "."]


def test_a_model_whose_files_changed_is_asked_again(flat, run, models, measuring):
    run(flat, models("a"))
    (Path(models("a")) / "config.json").write_text("{}")
    measuring.asked.clear()

    run(flat, models("a"))

    assert measuring.count() == 3


def test_other_candidates_are_asked_again(flat, run, models, measuring):
    run(flat, models("a"), depth=3)
    measuring.asked.clear()

    run(flat, models("a"), depth=2)

    assert measuring.asked[models("a")] == ["q1", "q3"]  # q2 has two candidates only


def test_a_system_that_fails_does_not_take_the_others_along(flat, run, models, measuring):
    measuring.fail[models("a")] = (1, EngineError("it\nfailed"))

    report = run(flat, models("a"), models("b")).report

    assert [(failure.label, failure.reason) for failure in report.failures] == [("a", "it failed")]
    assert report.reference == "b"
    assert [row.label for row in report.rows] == ["BM25", "as given", "b"]


def test_what_a_failing_system_answered_is_kept(flat, run, models, measuring):
    measuring.fail[models("a")] = (2, EngineError("out of memory"))
    with pytest.raises(EngineError, match="out of memory"):
        run(flat, models("a"))
    measuring.fail.clear()

    run(flat, models("a"))

    assert measuring.asked[models("a")] == ["q3"]


def test_an_interrupt_loses_nothing_that_was_answered(flat, run, models, measuring):
    measuring.fail[models("b")] = (1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(flat, models("a"), models("b"))
    measuring.fail.clear()
    measuring.asked.clear()

    run(flat, models("a"), models("b"))

    assert measuring.asked == {models("b"): ["q2", "q3"]}


def test_answers_are_kept_while_a_system_runs(flat, run, models, tmp_path, monkeypatch):
    """A process that is killed has no time to keep anything."""
    monkeypatch.setattr(run_module, "_KEPT_EVERY", 1)
    kept: list[int] = []

    class Looking(Steps):
        def asked(self) -> None:
            kept.append(sum(path.read_text().count('"scores"') for path in (tmp_path / "cache").rglob("*.json")))

    run(flat, models("a"), steps=Looking())

    assert kept == [0, 1, 2]


def test_a_model_that_is_not_there_stops_before_anything_is_asked(flat, run, models, measuring):
    with pytest.raises(CheckpointError, match="there is no directory"):
        run(flat, models("a"), "./no/such/model")

    assert measuring.count() == 0


def test_speed_and_memory_are_the_systems_own(flat, run, models):
    """The double's clock ticks once a question."""
    rows = run(flat, models("a")).report.rows

    assert [row.pairs_per_second for row in rows] == [None, None, pytest.approx(8 / 3)]
    assert [row.memory for row in rows] == [None, None, 1_000_000]


def test_a_calibration_is_fitted_to_what_was_judged(flat, run, models):
    evaluation = run(flat, models("a"))

    fit = calibrate(evaluation.questions, evaluation.runs[0], data="small")

    # Judges said what is not relevant, so that only their own pairs count: d1, d2 of q1, d2 of q2, d3, d4 of q3.
    assert (fit.pairs, fit.relevant, fit.unjudged) == (5, 4, 0)
    assert fit.a > 0
    assert fit.fingerprint == "f"


def test_scores_that_mean_the_opposite_are_not_calibrated(flat, run, models):
    (flat / "qrels.tsv").write_text("q1\td1\t0\nq1\td2\t1\nq2\td2\t0\nq2\td3\t1\n")
    evaluation = run(flat, models("a"))

    with pytest.raises(InvalidRequest, match="scores relevant documents of small no higher than others"):
        calibrate(evaluation.questions, evaluation.runs[0], data="small")
