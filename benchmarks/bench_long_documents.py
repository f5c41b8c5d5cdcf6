"""What it brings to score long documents whole, and what it costs. See README.md beside this.

Two questions. In a document made of passages, of which one answers the query and stands at any place: is it found,
among the query's other candidates as they are, and among others made as long? And where documents are long by
themselves, is the order better? A data directory that is not there is skipped loudly.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import rerank_core
from bench_quality import DATA, bootstrap_interval
from machine import describe
from markdown_tables import table
from rerank_core import ScoreOptions
from rerank_core.models.local import LocalModel
from results import settings_of, write_results
from retrieval import Question, ndcg, read_collection

FIRST = "chunk, first"  # reads what cutting reads: only for documents that are long by themselves
MODES = {
    "truncate": ScoreOptions(raw=True, long_documents="truncate"),
    "chunk, max": ScoreOptions(raw=True, long_documents="chunk"),
    "chunk, mean of 3": ScoreOptions(raw=True, long_documents="chunk", chunk_score="mean"),
    FIRST: ScoreOptions(raw=True, long_documents="chunk", chunk_score="first"),
}
RIVALS = 3  # documents made as long
PASSAGES_FROM = 100  # candidates of a query
WINDOW = 512  # tokens


@dataclass(frozen=True, slots=True)
class Made:
    """A query's documents; the first one is long, and holds what answers it from token ``place`` on."""

    query: str
    documents: tuple[str, ...]
    place: int

    @property
    def bucket(self) -> int:
        """In which stretch of 512 tokens the answer begins, the third for all beyond it."""
        return min(self.place // WINDOW, 2)


@dataclass(frozen=True, slots=True)
class Run:
    """One mode: the measure of each query, the tokens that the model read, and the CPU seconds."""

    values: list[float]
    tokens: int
    seconds: float


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory, hub name or lite")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--made-of", nargs="*", default=["xquad-en", "scifact"], help="collections to make documents of"
    )
    parser.add_argument("--naturally-long", nargs="*", default=["scifact", "cranfield"])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=3 * WINDOW, help="of a made document, about")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here too")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"SKIPPED LOUDLY: no judged collections at {given.data}", file=sys.stderr)
        return
    model = rerank_core.load(given.model, device="cpu", threads=given.threads)
    figures: dict[str, Any] = {}
    for name in given.made_of:
        for are_long, among in ((False, "candidates as they are"), (True, f"{RIVALS} made as long")):
            made = list(make(given.data / name, model, given, are_long=are_long))
            if not made:
                print(f"\n### {name}: too few candidates for documents of {given.tokens} tokens\n")
                continue
            runs = {mode: rank_made(model, made, options, mode) for mode, options in MODES.items() if mode != FIRST}
            print(f"\n### {name}: {len(made)} queries, an answer within about {given.tokens} tokens, among {among}\n")
            print(made_table(made, runs), flush=True)
            figures[f"made of {name}, among {among}"] = {"places": [each.place for each in made], **_plain(runs)}
    for name in given.naturally_long:
        questions = long_questions(given.data / name, model, given)
        if not questions:
            print(f"\n### {name}: no query has a candidate of more than {WINDOW} tokens\n")
            continue
        runs = {mode: rank_natural(model, questions, options, mode) for mode, options in MODES.items()}
        print(f"\n### {name}: {len(questions)} queries with candidates of more than {WINDOW} tokens\n")
        print(natural_table(runs))
        figures[f"naturally long, {name}"] = _plain(runs)
    if given.json:
        write_results(given.json, describe(), settings_of(given), figures=figures)


def make(directory: Path, model: LocalModel, given: argparse.Namespace, *, are_long: bool) -> Iterator[Made]:
    """A long document around each query's answer, out of further candidates, which a retriever took for answers.

    Beside it stand the query's first candidates; or, where ``are_long``, documents that are made as it is.
    """
    chance = random.Random(0)
    for question in read_collection(directory, queries=given.queries, depth=PASSAGES_FROM).questions:
        answers = [text for id_, text in _candidates(question) if question.grades.get(id_, 0) > 0]
        others = [text for id_, text in _candidates(question) if question.grades.get(id_, 0) <= 0]
        first, further = others[: given.depth - 1], others[given.depth - 1 :]
        pool = others if are_long else further
        chance.shuffle(pool)
        rest = iter(pool)
        documents = [_filled(rest, model, given.tokens) for _ in range(1 + RIVALS * are_long)]
        if not answers or not all(documents):
            continue  # or too few candidates
        passages = documents[0]
        before = chance.randrange(len(passages) + 1)
        place = sum(tokens for _, tokens in passages[:before])
        texts = [text for text, _ in passages]
        whole = [*texts[:before], answers[0], *texts[before:]]
        rivals = ["\n\n".join(text for text, _ in each) for each in documents[1:]] if are_long else first
        yield Made(question.query, ("\n\n".join(whole), *rivals), place)


def _candidates(question: Question) -> Iterator[tuple[str, str]]:
    return zip(question.ids, question.documents, strict=True)


def _filled(passages: Iterator[str], model: LocalModel, tokens: int) -> list[tuple[str, int]]:
    """Passages of about so many tokens together, each with its own; none where there are too few."""
    found: list[tuple[str, int]] = []
    while sum(count for _, count in found) < tokens:
        text = next(passages, None)
        if text is None:
            return []
        found.append((text, count_tokens(model, text)))
    return found


def count_tokens(model: LocalModel, text: str) -> int:
    """Of a text, all of it."""
    (encoding,) = model.encode("", [text], ScoreOptions(long_documents="chunk", overlap_tokens=0))
    return sum(len(sequence) for sequence in encoding.sequences)


def rank_made(model: LocalModel, made: Sequence[Made], options: ScoreOptions, mode: str) -> Run:
    """NDCG of the one document that answers, among its own."""
    questions = [
        Question(each.query, tuple(map(str, range(len(each.documents)))), each.documents, {"0": 1}) for each in made
    ]
    return rank_natural(model, questions, options, mode)


def long_questions(directory: Path, model: LocalModel, given: argparse.Namespace) -> list[Question]:
    """The queries that have a long candidate."""
    questions = read_collection(directory, queries=sys.maxsize, depth=given.depth).questions
    lengths = {text: count_tokens(model, text) for question in questions for text in question.documents}
    return [q for q in questions if any(lengths[text] > WINDOW for text in q.documents)][: given.queries]


def rank_natural(model: LocalModel, questions: Sequence[Question], options: ScoreOptions, mode: str) -> Run:
    """nDCG@10 of each query's candidates; their own order does not break ties."""
    values, tokens, began = [], 0, time.process_time()
    for question in questions:
        scores = model.score(question.query, question.documents, options=options)
        tokens += scores.usage.tokens
        # The worst place for what answers: a tie is not a find.
        order = sorted(
            range(len(question.ids)),
            key=lambda index: (-scores.values[index], question.grades.get(question.ids[index], 0)),
        )
        values.append(ndcg([question.ids[index] for index in order], question.grades))
    seconds = time.process_time() - began
    print(f"{mode}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return Run(values, tokens, seconds)


def made_table(made: Sequence[Made], runs: dict[str, Run]) -> str:
    """A row for each mode: nDCG by where the answer stands, and the cost against cutting."""
    buckets: dict[int, list[int]] = defaultdict(list)
    for index, each in enumerate(made):
        buckets[each.bucket].append(index)
    stretches = [f"from {WINDOW * bucket} ({len(buckets[bucket])})" for bucket in sorted(buckets)]
    columns = ["answer begins at token (queries)", *stretches, "all", "tokens"]
    rows = []
    for mode, run in runs.items():
        cells = [f"{fmean(run.values[index] for index in buckets[b]):.3f}" for b in sorted(buckets)]
        rows.append([mode, *cells, f"{fmean(run.values):.3f}", f"{run.tokens / runs['truncate'].tokens:.2f}"])
    return table(columns, rows)


def natural_table(runs: dict[str, Run]) -> str:
    """A row for each mode: nDCG@10, its change with the 95 % interval over queries, and the cost against cutting."""
    base = runs["truncate"]
    rows = []
    for mode, run in runs.items():
        change = np.array(run.values) - np.array(base.values)
        low, high = bootstrap_interval(change)
        interval = "-" if run is base else f"{change.mean():+.4f} ({low:+.4f} to {high:+.4f})"
        rows.append([mode, f"{fmean(run.values):.4f}", interval, f"{run.tokens / base.tokens:.2f}"])
    return table(["mode", "nDCG@10", "change", "tokens"], rows)


def _plain(runs: dict[str, Run]) -> dict[str, Any]:
    return {mode: asdict(run) for mode, run in runs.items()}


if __name__ == "__main__":
    main()
