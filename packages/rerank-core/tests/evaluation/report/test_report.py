import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rerank_core.evaluation.judge.measures import Judged
from rerank_core.evaluation.report.charts import Bar, Point, Span, bars, log_ticks, plane, spans, ticks
from rerank_core.evaluation.report.page import page
from rerank_core.evaluation.report.report import (
    Failure,
    JudgedSystem,
    Provenance,
    Report,
    Setting,
    as_json,
    heading,
    remarks,
    report,
)
from rerank_core.evaluation.report.table import table, three_digits
from rerank_core.evaluation.run.answers import Answer, LoadedModel, SystemRun

SETTING = Setting(
    collection="small",
    documents=4,
    collection_queries=6,
    judgements=9,
    queries=("q1", "q2", "q3", "q4"),
    pairs=12,
    depth=3,
    candidates="BM25",
    candidate_recall=0.75,
    without_relevant=2,
    without_candidates=0,
    machine="a processor, 1 core",
)
PROVENANCE = Provenance(
    time="2026-11-26 18:00 UTC", command="rerank eval 'my data'", versions={"rerank-core": "0.1.0", "torch": "2.13.0"}
)


def result(
    label: str, *ndcg: float, seconds: float | None = None, dtype: str = "float32", cores: float = 1.0
) -> JudgedSystem:
    judged = Judged(ndcg=ndcg, mrr=ndcg, recall=ndcg)
    if seconds is None:
        return JudgedSystem(label, judged)
    answer = Answer((1.0,) * 3, seconds, seconds * cores, 250_000_000)
    return JudgedSystem(label, judged, SystemRun(LoadedModel(model=label, dtype=dtype), (answer,) * 4))


@pytest.fixture
def made() -> Report:
    return report(
        SETTING,
        [
            result("BM25", 0.1, 0.2, 0.3, 0.2),
            result("big", 0.9, 0.8, 1.0, 0.7, seconds=1.0),
            result("big int8", 0.9, 0.8, 0.9, 0.7, seconds=0.25, dtype="int8"),
            result("tiny <b>", 0.5, 0.3, 0.4, 0.2, seconds=0.1),
        ],
        [Failure("huge", "out of memory")],
    )


def test_the_table_is_markdown_that_lines_up(made):
    assert table(made) == (
        "| system   | nDCG@10 |    difference (95 % interval) | MRR@10 | recall@10 | pairs/s | memory MB |\n"
        "| -------- | ------: | ----------------------------: | -----: | --------: | ------: | --------: |\n"
        "| BM25     |  0.2000 | -0.6500 (-0.7500 to -0.5500)* | 0.2000 |    0.2000 |       - |         - |\n"
        "| big      |  0.8500 |                             - | 0.8500 |    0.8500 |    3.00 |       250 |\n"
        "| big int8 |  0.8250 | -0.0250 (-0.0750 to +0.0000)  | 0.8250 |    0.8250 |    12.0 |       250 |\n"
        "| tiny <b> |  0.3500 | -0.5000 (-0.5750 to -0.4250)* | 0.3500 |    0.3500 |    30.0 |       250 |"
    )


def test_the_heading_says_what_was_asked_and_what_was_not(made):
    assert heading(made) == (
        "small: 4 queries, 12 candidates from BM25 (at most 3 a query, out of 4 documents) with 75.0 % of what is "
        "relevant. Passed over: 2 more have no relevant document."
    )


def test_the_remarks_say_which_system_to_run_and_which_failed(made):
    said = remarks(made)

    assert "Best nDCG@10: big (0.8500). Fastest that is not measurably worse than big: big int8." in said
    assert said[-1] == "huge FAILED: out of memory"


def test_a_busy_machine_is_said_so():
    busy = result("busy", 1.0, 1.0, 1.0, 1.0, seconds=1.0, cores=0.5)

    assert any(said.endswith("had: busy 50%.") for said in remarks(report(SETTING, [busy])))
    assert not any("Other work" in said for said in remarks(report(SETTING, [result("m", 1.0, seconds=1.0)])))


def test_a_machine_that_computes_in_another_dtype_says_so():
    made = report(SETTING, [result("m float16-weights", 1.0, 1.0, 1.0, 1.0, seconds=1.0)])

    assert "m float16-weights computes in float32 here." in remarks(made)


def test_the_words_of_an_instruction_are_no_dtype_and_no_column():
    made = report(SETTING, [result('m "find int8 | float16"', 1.0, 1.0, 1.0, 1.0, seconds=1.0)])

    assert not any("computes in" in remark for remark in remarks(made))
    assert {line.count("|") for line in table(made).splitlines()} == {8}


def test_the_first_system_is_the_reference_also_below_others():
    assert report(SETTING, [result("BM25", 0.5), result("m", 0.6, seconds=1.0)]).reference == "m"
    with pytest.raises(ValueError, match="no system has a result"):
        report(SETTING, [result("BM25", 0.5)])


def test_json_has_every_figure(made):
    content = json.loads(as_json(made, PROVENANCE))

    assert content["setting"]["queries"] == ["q1", "q2", "q3", "q4"]
    tiny = content["rows"][3]
    assert (tiny["label"], tiny["is_system"], tiny["is_different"]) == ("tiny <b>", True, True)
    assert tiny["ndcgs"] == [0.5, 0.3, 0.4, 0.2]
    assert tiny["memory"] == 250_000_000
    assert content["provenance"]["versions"]["torch"] == "2.13.0"
    assert (content["setting"]["collection_queries"], content["setting"]["judgements"]) == (6, 9)
    assert content["failures"] == [{"label": "huge", "reason": "out of memory"}]


class Elements(HTMLParser):
    """Every element with what it points to, and which are left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(made):
    text = page(made, PROVENANCE)
    elements = Elements(text)

    assert elements.open == []
    assert elements.targets == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(elements.names)
    assert not re.search(r"https?://|url\(|@import", text)


def test_the_page_follows_light_and_dark(made):
    assert "prefers-color-scheme: dark" in page(made, PROVENANCE)
    assert not re.search(r"<svg[^>]*(fill|stroke|style)=", page(made, PROVENANCE))


def test_the_page_holds_the_table_the_remarks_and_the_charts(made):
    text = page(made, PROVENANCE)

    assert text.count("<svg ") == 5
    assert "tiny &lt;b&gt;" in text
    assert "<b>" not in text
    assert "huge FAILED: out of memory" in text
    assert "-0.5000 (-0.5750 to -0.4250)*" in text


def sections(text: str) -> dict[str, list[list[str]]]:
    """The tables below each summary: the cells of their rows."""
    return {
        name: [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]]
        for name, table in re.findall(r"<summary>(.*?)</summary>(.*?)</details>", text)
    }


def test_the_page_lists_the_queries_that_lost_most_for_each_system(made):
    """The first system beside the first stage, where it loses nothing here; the others beside the first."""
    found = sections(page(made, PROVENANCE))

    assert list(found) == ["big int8, against big", "tiny &lt;b&gt;, against big"]
    assert found["big int8, against big"] == [["q3", "0.9000", "1.0000", "-0.1000"]]
    assert [row[0] for row in found["tiny &lt;b&gt;, against big"]] == ["q3", "q2", "q4", "q1"]


def test_at_most_ten_queries_are_listed_and_the_first_system_beside_the_search():
    queries = tuple(f"q{number}" for number in range(12))
    setting = replace(SETTING, queries=queries)
    search = result("as given", *[1.0] * 12)
    model = result("m", *[number / 12 for number in range(12)], seconds=1.0)

    (rows,) = sections(page(report(setting, [result("BM25", *[0.0] * 12), search, model]), PROVENANCE)).values()

    assert [row[0] for row in rows] == [f"q{number}" for number in range(10)]


def test_the_footer_says_when_how_with_what_and_on_how_much(made):
    footer = re.search(r"<footer>.*</footer>", page(made, PROVENANCE))[0]

    for part in (
        "2026-11-26 18:00 UTC, on a processor, 1 core",
        "rerank eval &#x27;my data&#x27;",
        "rerank-core 0.1.0, torch 2.13.0",
        "The collection has 4 documents, 6 queries and 9 judgements; compared were 4 queries and 12 pairs.",
    ):
        assert part in footer


def test_a_page_of_one_system_has_no_comparison():
    text = page(report(SETTING, [result("m", 1.0, 1.0, 1.0, 1.0, seconds=1.0)]), PROVENANCE)

    assert "Difference of nDCG@10" not in text
    assert "Quality and speed" not in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.003, 0.004, [-0.002, 0.0, 0.002, 0.004]),
        (0.0, 3000.0, [0.0, 500.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


def test_logarithmic_ticks_are_at_least_two():
    assert log_ticks(9, 1100) == [10, 20, 50, 100, 200, 500, 1000]
    assert len(log_ticks(101, 130)) > 1


def numbers(drawn: str, name: str) -> list[float]:
    return [float(found) for found in re.findall(rf' {name}="([-\d.]+)"', drawn)]


def test_bars_are_as_long_as_their_values():
    short, long = numbers(bars("t", [Bar("a", 1.0, "1"), Bar("b", 4.0, "4")]), "width")

    assert long == pytest.approx(4 * short, rel=0.01)


def test_an_axis_that_values_cannot_pass_ends_there():
    drawn = bars("t", [Bar("a", 0.5, "0.5")], most=1.0)
    (half,) = numbers(drawn, "width")
    ends = numbers(re.sub(r"<text.*?</text>", "", drawn), "x1")

    assert half == pytest.approx((max(ends) - min(ends)) / 2, abs=0.2)
    assert re.findall(r'"soft".*?>([\d.]+)<', drawn) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]

    points = [Point("a", 10.0, 0.99), Point("b", 20.0, 0.90)]
    labels = re.findall(r'text-anchor="end"[^>]*>([\d.]+)<', plane("t", points, across="x", up="y", most=1.0))
    assert max(map(float, labels)) == 1.0
    top = min(numbers(plane("t", [Point("a", 1.0, 1.0), Point("b", 9.0, 0.5)], across="x", up="y", most=1.0), "cy"))
    assert top == 22.0


def test_nothing_at_all_is_still_a_chart():
    assert bars("t", [Bar("a", 0.0, "0")]).startswith("<svg ")
    assert spans("t", [Span("a", 0.0, 0.0, 0.0, "0")]).startswith("<svg ")
    assert plane("t", [Point("a", 1.0, 0.0), Point("b", 1.0, 0.0)], across="x", up="y").startswith("<svg ")


def test_names_of_points_do_not_lie_upon_each_other():
    drawn = plane("t", [Point("one", 10.0, 0.5), Point("two", 10.0, 0.5), Point("far", 90.0, 0.5)], across="x", up="y")
    places = {name: float(y) for y, name in re.findall(r'y="([\d.]+)"[^>]*>(one|two|far)<', drawn)}

    assert abs(places["one"] - places["two"]) >= 15
    assert places["far"] == places["one"]


def test_a_name_of_any_length_stays_inside():
    drawn = bars("t", [Bar("name" * 40, 1.0, "1")])

    assert max(numbers(drawn, "x")) < 760
    assert "…" in drawn


def test_figures_have_three_digits():
    assert [three_digits(value) for value in (0.72, 24.0, 1246.3)] == ["0.720", "24.0", "1246"]
