"""Data sets through the highest door: files in, files out."""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rerank_core.errors import InvalidRequest, Overloaded
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_core.types import Pair, ScoreOptions, Scores
from rerank_integrations.batch import Columns, Job, score_files
from rerank_integrations.client import HTTPScorer
from rerank_integrations.local import ModelScorer

Make: type = Callable[..., Any]
HOLDING = Path(__file__).parent / "holding.py"


class Pairs:
    """Scores pairs together, and remembers how many at once."""

    def __init__(self, name: str = "overlap") -> None:
        self._model = OverlapModel(name=name)
        self.at_once: list[int] = []

    def score(self, query: str, documents: Sequence[str], **options: Any) -> Scores:
        return self._model.score(query, documents, **options)

    def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
        self.at_once.append(len(pairs))
        each = [self._model.score(query, [document], options=options) for query, document in pairs]
        return Scores(
            values=tuple(scores.values[0] for scores in each), model="overlap", usage=each[0].usage
        ) if each else self._model.score("", [])  # fmt: skip

    def fingerprint(self) -> str:
        return self._model.fingerprint()


def expected(rows: list[dict[str, Any]]) -> list[float]:
    model = OverlapModel()
    return [model.score(row["query"], [row["document"]]).values[0] for row in rows]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_each_row_comes_back_as_it_was_with_its_score(
    tmp_path: Path, rows: Make, jsonl: Make, parquet: Make, rows_of: Make, name: str
) -> None:
    write = parquet if name.endswith("parquet") else jsonl
    source = write(tmp_path / "in" / name, rows(250))

    summary = score_files(source, tmp_path / "out", Pairs(), Job(chunk_rows=100))

    before, after = rows_of(source), rows_of(tmp_path / "out" / name)
    assert [{name: value for name, value in row.items() if name != "score"} for row in after] == before
    assert [row["score"] for row in after] == expected(before)
    assert (summary.files, summary.rows, summary.skipped, summary.done_before) == (1, 250, 0, 0)


def test_a_line_stays_as_it_was_to_the_byte(tmp_path: Path) -> None:
    lines = [
        b'{"id":1,"query":"panda" , "document":"a panda","big":123456789012345678901234567890,"e":1e5 }',
        b'  {"n":1.50,"n":2,"query":"\\u00e9","document":"\xc3\xa9","id":"x"}\r',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n\n".join(lines))

    score_files(tmp_path / "a.jsonl", tmp_path / "out", Pairs())

    first, second = (tmp_path / "out" / "a.jsonl").read_bytes().splitlines()
    assert first.startswith(lines[0][:-2] + b', "score": 0.')
    assert second.startswith(lines[1].strip()[:-1] + b', "score": 0.')


def test_types_and_metadata_of_a_table_stay(tmp_path: Path, rows: Make, parquet: Make) -> None:
    source = parquet(tmp_path / "a.parquet", rows(50))
    from pyarrow import parquet as pq

    score_files(source, tmp_path / "out", Pairs(), Job(rerank=True, chunk_rows=7))

    before, after = pq.read_schema(source), pq.read_schema(tmp_path / "out" / "a.parquet")
    assert list(after)[:4] == list(before)
    assert [(field.name, str(field.type)) for field in list(after)[4:]] == [("score", "double"), ("rank", "int32")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_file_without_rows_gives_one_without_rows(
    tmp_path: Path, jsonl: Make, parquet: Make, rows_of: Make, name: str
) -> None:
    write = parquet if name.endswith("parquet") else jsonl
    source = write(tmp_path / "in" / name, [])
    for number, job in enumerate((Job(), Job(rerank=True))):
        assert score_files(source, tmp_path / str(number), Pairs(), job).rows == 0
        assert rows_of(tmp_path / str(number) / name) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("chunk", [3, 10, 1000])
def test_rows_of_a_query_come_best_first_with_their_rank(
    tmp_path: Path, rows: Make, jsonl: Make, parquet: Make, rows_of: Make, name: str, chunk: int
) -> None:
    write = parquet if name.endswith("parquet") else jsonl
    source = write(tmp_path / "in" / name, rows(100))

    score_files(source, tmp_path / "out", Pairs(), Job(rerank=True, top_n=4, chunk_rows=chunk))

    before = rows_of(source)
    wanted = []
    for start in range(0, 100, 10):
        scored = sorted(zip(before[start : start + 10], expected(before[start : start + 10]), strict=True), key=_best)
        wanted += [{**row, "score": score, "rank": rank} for rank, (row, score) in enumerate(scored[:4], start=1)]
    assert rows_of(tmp_path / "out" / name) == wanted


def _best(scored: tuple[dict[str, Any], float]) -> float:
    return -scored[1]


BROKEN = [
    pytest.param('{"id": 3, "query": "panda"}', "line 3 has no 'document'", id="missing"),
    pytest.param('{"id": 3, "query": "secret", "document": null}', "line 3 has no 'document'", id="null"),
    pytest.param('{"id": 3, "query": 7, "document": "secret"}', "its 'query' is int, not a string", id="a number"),
    pytest.param('{"id": 3, "query": "\\ud800", "document": "x"}', "holds a lone surrogate", id="a surrogate"),
    pytest.param('{"id": 1.5, "query": "secret", "document": "x"}', "line 3 has a 'id' of type float", id="an id"),
    pytest.param('{"query": "secret", "document": "x"}', "line 3 has no 'id'", id="no id"),
    pytest.param('["secret"]', "line 3 is not a JSON object", id="a list"),
    pytest.param('{"secret": ', "line 3 is not a JSON object", id="half an object"),
    pytest.param("[" * 100_000, "line 3 is not a JSON object", id="nested"),
    pytest.param("{}", "line 3 has no 'query'", id="nothing"),
]


@pytest.mark.parametrize(("line", "said"), BROKEN)
def test_a_broken_row_is_an_error_with_file_and_line_and_without_text(
    tmp_path: Path, rows: Make, line: str, said: str
) -> None:
    good = [json.dumps(row) for row in rows(4)]
    (tmp_path / "a.jsonl").write_text("\n".join([*good[:2], line, *good[2:]]) + "\n")

    with pytest.raises(InvalidRequest, match=said) as raised:
        score_files(tmp_path / "a.jsonl", tmp_path / "out", Pairs())

    assert str(tmp_path / "a.jsonl") in str(raised.value)
    assert "secret" not in str(raised.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["_rerank.json"]


@pytest.mark.parametrize(("line", "said"), BROKEN)
def test_a_broken_row_may_be_left_without_a_score_and_counted(
    tmp_path: Path, rows: Make, rows_of: Make, line: str, said: str
) -> None:
    good = rows(4)
    texts = [json.dumps(row) for row in good]
    (tmp_path / "a.jsonl").write_text("\n".join([*texts[:2], line, *texts[2:]]) + "\n")

    summary = score_files(tmp_path / "a.jsonl", tmp_path / "out", Pairs(), Job(on_error="skip"))

    assert (summary.rows, summary.skipped) == (5, 1)
    if not said.endswith("object"):
        scores = [row["score"] for row in rows_of(tmp_path / "out" / "a.jsonl")]
        assert scores == [*expected(good[:2]), None, *expected(good[2:])]


def test_a_row_that_belongs_to_no_query_is_broken_and_stands_last(tmp_path: Path, jsonl: Make, rows_of: Make) -> None:
    data = [{"id": number, "query": "panda", "document": "a panda", "topic": 1} for number in range(3)]
    data[1]["document"] = None
    del data[2]["topic"]
    source = jsonl(tmp_path / "a.jsonl", data)
    job = Job(rerank=True, group="topic", on_error="skip")

    score_files(source, tmp_path / "out", Pairs(), job)

    after = rows_of(tmp_path / "out" / "a.jsonl")
    assert [(row["id"], row["score"] is None, row["rank"]) for row in after] == [
        (0, False, 1), (1, True, None), (2, True, None),
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="line 2 has no 'document'"):
        score_files(source, tmp_path / "other", Pairs(), Job(rerank=True, group="topic"))


def test_a_column_that_is_missing_not_text_or_taken_is_refused_at_once(
    tmp_path: Path, rows: Make, parquet: Make, jsonl: Make
) -> None:
    source = parquet(tmp_path / "a.parquet", rows(3))
    taken = jsonl(tmp_path / "a.jsonl", [row | {"score": 1} for row in rows(3)])
    for path, job, said in (
        (source, Job(columns=Columns(id="key")), "has no column 'key': it has 'id', 'query', 'document', 'more'"),
        (source, Job(rerank=True, group="topic"), "has no column 'topic'"),
        (source, Job(columns=Columns(document="more")), "column 'more' is int64, not text"),
        (source, Job(score="more"), "has a column 'more' already"),
        (taken, Job(), "line 1 has a 'score' already"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            score_files(path, tmp_path / str(len(said)), Pairs(), job)


def test_text_of_a_table_that_is_not_utf8_is_a_broken_row(tmp_path: Path, rows_of: Make) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    texts = arrow.array([b"a panda", b"\xff", None], arrow.binary()).cast(arrow.string(), safe=False)
    pq.write_table(arrow.table({"id": [1, 2, 3], "query": ["panda"] * 3, "document": texts}), tmp_path / "a.parquet")

    with pytest.raises(InvalidRequest, match="row 2 has a 'document' that is not UTF-8"):
        score_files(tmp_path / "a.parquet", tmp_path / "out", Pairs())
    assert score_files(tmp_path / "a.parquet", tmp_path / "out", Pairs(), Job(on_error="skip")).skipped == 2


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz"])
def test_a_damaged_file_is_named(tmp_path: Path, rows: Make, jsonl: Make, parquet: Make, name: str) -> None:
    write = parquet if name.endswith("parquet") else jsonl
    source = write(tmp_path / name, rows(5000))
    source.write_bytes(source.read_bytes()[:-100])

    with pytest.raises(InvalidRequest, match=name):
        score_files(source, tmp_path / "out", Pairs())


def test_what_the_scorer_raises_names_the_file(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    class Full(Pairs):
        def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
            return FailingScorer(Overloaded("no room", retry_after=1)).score("", [])

    with pytest.raises(Overloaded, match=r"a.jsonl, no room"):
        score_files(jsonl(tmp_path / "a.jsonl", rows(3)), tmp_path / "out", Full())


def test_files_that_are_done_are_not_scored_again(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    for name in "abc":
        jsonl(tmp_path / "in" / f"{name}.jsonl", rows(5))
    score_files(tmp_path / "in", tmp_path / "out", Pairs())
    (tmp_path / "out" / "b.jsonl").unlink()
    scorer = Pairs()

    summary = score_files(tmp_path / "in", tmp_path / "out", scorer)

    assert (summary.files, summary.rows, summary.done_before) == (1, 5, 2)
    assert scorer.at_once == [5]
    assert str(summary).endswith("2 files were done before")


@pytest.mark.parametrize(
    ("name", "job", "said"),
    [
        ("other", Job(), 'model is "overlap" there, "other" here'),
        ("overlap", Job(options=ScoreOptions(raw=True)), 'options is {} there, {"raw": true} here'),
        ("overlap", Job(rerank=True), "rerank is false there, true here"),
    ],
)
def test_scores_of_another_model_or_job_do_not_come_into_the_same_folder(
    tmp_path: Path, rows: Make, jsonl: Make, name: str, job: Job, said: str
) -> None:
    source = jsonl(tmp_path / "a.jsonl", rows(3))
    score_files(source, tmp_path / "out", Pairs())

    with pytest.raises(InvalidRequest) as raised:
        score_files(source, tmp_path / "out", Pairs(name), job)

    assert said in str(raised.value)


def test_a_run_that_failed_may_go_on_without_the_broken_rows(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    jsonl(tmp_path / "in" / "a.jsonl", rows(3))
    jsonl(tmp_path / "in" / "b.jsonl", [{"id": 1}])
    with pytest.raises(InvalidRequest):
        score_files(tmp_path / "in", tmp_path / "out", Pairs())

    summary = score_files(tmp_path / "in", tmp_path / "out", Pairs(), Job(on_error="skip"))

    assert (summary.done_before, summary.rows, summary.skipped) == (1, 1, 1)


def test_a_folder_with_files_of_somebody_else_is_left_alone(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    source = jsonl(tmp_path / "a.jsonl", rows(3))
    theirs = jsonl(tmp_path / "out" / "a.jsonl", rows(1))
    content = theirs.read_bytes()

    with pytest.raises(InvalidRequest, match=r"holds a.jsonl, and no _rerank.json"):
        score_files(source, tmp_path / "out", Pairs())

    assert theirs.read_bytes() == content


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path, rows: Make, jsonl: Make, rows_of: Make) -> None:
    """A process of its own, killed in the middle of its second file."""
    for number in range(3):
        data = rows(300, 300 * number)
        if number == 1:
            data[150]["document"] += " hold"
        jsonl(tmp_path / "in" / f"{number}.jsonl", data)
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, str(HOLDING), *(str(tmp_path / name) for name in ("in", "out", "fifo"))]
    with subprocess.Popen(command) as process, (tmp_path / "fifo").open():  # open when it holds
        process.kill()
    first = (tmp_path / "out" / "0.jsonl").stat().st_mtime_ns
    left = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    halves = [path.name for path in (tmp_path / "out").glob(".*")]

    summary = score_files(tmp_path / "in", tmp_path / "out", Pairs(), Job(chunk_rows=100))

    assert left == ["0.jsonl", "_rerank.json"]
    assert len(halves) == 1
    assert halves[0].startswith(".1.jsonl.")
    assert (summary.done_before, summary.rows) == (1, 600)
    assert (tmp_path / "out" / "0.jsonl").stat().st_mtime_ns == first
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.jsonl", "1.jsonl", "2.jsonl", left[1]]
    after = [row for number in range(3) for row in rows_of(tmp_path / "out" / f"{number}.jsonl")]
    assert [row["id"] for row in after] == [row["id"] for row in rows(900)]
    assert [row["score"] for row in after] == expected(after)


def test_memory_does_not_grow_with_the_file(tmp_path: Path, rows: Make, jsonl: Make) -> None:
    class Nothing(Pairs):
        def score_pairs(self, pairs: Sequence[Pair], options: ScoreOptions | None = None) -> Scores:
            return Scores(values=(0.5,) * len(pairs), model="overlap", usage=self.score("", []).usage)

    peaks = []
    for count in (500, 500, 6000):  # the first brings in what is imported late
        source = jsonl(tmp_path / str(count) / "a.jsonl", rows(count))
        tracemalloc.start()
        score_files(source, tmp_path / "out", Nothing(), Job(chunk_rows=100))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        shutil.rmtree(tmp_path / "out")

    assert peaks[2] < 1.5 * peaks[1]


def test_the_scores_are_those_of_the_model_in_process(
    tmp_path: Path, rows: Make, jsonl: Make, rows_of: Make, checkpoint: Path
) -> None:
    """To the last bit, whatever else is in a chunk."""
    from rerank_core import load

    data = rows(5000)
    for number in range(2):
        jsonl(tmp_path / "in" / f"{number}.jsonl", data[2500 * number : 2500 * (number + 1)])

    summary = score_files(tmp_path / "in", tmp_path / "out", ModelScorer(str(checkpoint)))

    after = [row for number in range(2) for row in rows_of(tmp_path / "out" / f"{number}.jsonl")]
    assert summary.rows == 5000
    assert [row["id"] for row in after] == [row["id"] for row in data]
    model = load(str(checkpoint))
    for start in range(0, 5000, 10):
        documents = [row["document"] for row in data[start : start + 10]]
        scores = model.score(data[start]["query"], documents).values
        assert [row["score"] for row in after[start : start + 10]] == list(scores)


def test_servers_may_do_the_work(tmp_path: Path, rows: Make, jsonl: Make, rows_of: Make, url: str) -> None:
    data = rows(95)

    score_files(jsonl(tmp_path / "a.jsonl", data), tmp_path / "out", HTTPScorer(url), Job(chunk_rows=50))

    after = rows_of(tmp_path / "out" / "a.jsonl")
    assert [row["score"] for row in after] == expected(data)
    assert json.loads((tmp_path / "out" / "_rerank.json").read_text())["fingerprint"] is None


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize("rerank", [False, True])
def test_a_model_that_scores_lists_gets_the_rows_of_a_query_at_once(
    tmp_path: Path, rows: Make, jsonl: Make, rows_of: Make, chunk: int, rerank: bool
) -> None:
    pytest.importorskip("numpy", reason="the extra 'local' is not installed")
    from rerank_core.testing.listwise import listwise_model

    source = jsonl(tmp_path / "a.jsonl", rows(30))
    model = listwise_model()

    score_files(source, tmp_path / "out", model, Job(chunk_rows=chunk, rerank=rerank))

    before = rows_of(source)
    wanted = {}
    for start in range(0, 30, 10):
        group = before[start : start + 10]
        scores = model.score(group[0]["query"], [row["document"] for row in group]).values
        wanted |= {row["id"]: score for row, score in zip(group, scores, strict=True)}
    after = rows_of(tmp_path / "out" / "a.jsonl")
    assert {row["id"]: row["score"] for row in after} == wanted
    assert ([row["id"] for row in after] == [row["id"] for row in before]) != rerank


def test_rows_of_a_list_that_do_not_stand_together_are_refused(tmp_path: Path, jsonl: Make) -> None:
    pytest.importorskip("numpy", reason="the extra 'local' is not installed")
    from rerank_core.testing.listwise import listwise_model

    apart = [{"id": number, "query": query, "document": "a panda"} for number, query in enumerate("aba")]
    source = jsonl(tmp_path / "a.jsonl", apart)

    with pytest.raises(InvalidRequest, match="sort the file by 'query'"):
        score_files(source, tmp_path / "out", listwise_model())
    assert score_files(source, tmp_path / "plain", OverlapModel()).rows == 3
