"""How many results to keep, and from which score on: counted on questions whose answers are known.

The argument, where there is one, is a calibration for the model.
"""

import sys
from collections import defaultdict
from itertools import pairwise

import rerank_core
from handbook import FOLDER, PAGES, read, search

DEPTH = 20  # candidates of each question
PLAIN = (0.50, 0.54, 0.56, 0.58, 0.60, 0.62, 0.64)  # lite's scores lie between 0.27 and 0.73
CALIBRATED = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def main(calibration: str | None = None) -> None:
    questions = read("queries.jsonl")
    answers = read_answers()
    candidates = {name: search(question, k=DEPTH) for name, question in questions.items()}
    scores = score(questions, candidates, calibration)
    print_top_n(answers, candidates, scores)
    print_thresholds(answers, scores, PLAIN if calibration is None else CALIBRATED)
    if calibration is not None:
        print_shares(answers, scores)


def score(
    questions: dict[str, str], candidates: dict[str, list[str]], calibration: str | None
) -> dict[str, dict[str, float]]:
    """Score all candidates, by question and page: in one call, so that the bi-encoder reads each text only once."""
    model = rerank_core.load("lite", calibration=calibration)
    asked = [(name, page) for name, pages in candidates.items() for page in pages]
    values = model.score_pairs((questions[name], PAGES[page]) for name, page in asked).values
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, page), value in zip(asked, values, strict=True):
        scores[name][page] = value
    return scores


def read_answers() -> dict[str, set[str]]:
    """Read the pages that answer a question, by the question's id; a question without an answer is not there."""
    answers: dict[str, set[str]] = defaultdict(set)
    for line in (FOLDER / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question, page, _ = line.split("\t")
        answers[question].add(page)
    return answers


def print_top_n(
    answers: dict[str, set[str]], candidates: dict[str, list[str]], scores: dict[str, dict[str, float]]
) -> None:
    """Print how many questions have an answer among their first n pages, before and after reranking."""
    print(f"top_n  before  after  (of {len(answers)} questions)")
    for n in (1, 2, 3, 5, 10, DEPTH):
        before = sum(bool(pages & set(candidates[name][:n])) for name, pages in answers.items())
        after = sum(bool(pages & set(best(scores[name])[:n])) for name, pages in answers.items())
        print(f"{n:5}  {before:6}  {after:5}")


def best(scores: dict[str, float]) -> list[str]:
    """Order pages by score, best first."""
    return sorted(scores, key=lambda page: -scores[page])


def print_thresholds(
    answers: dict[str, set[str]], scores: dict[str, dict[str, float]], thresholds: tuple[float, ...]
) -> None:
    """Print, for each threshold, what is kept of the pages that answer, and of the others."""
    without = [name for name in scores if name not in answers]
    print(f"\nthreshold  answered/{len(answers)}  wrong pages  silent/{len(without)}")
    for threshold in thresholds:
        kept = {name: {page for page, score in own.items() if score >= threshold} for name, own in scores.items()}
        answered = sum(bool(pages & kept[name]) for name, pages in answers.items())
        wrong = sum(len(kept[name] - pages) for name, pages in answers.items()) / len(answers)
        silent = sum(not kept[name] for name in without)
        print(f"{threshold:9.2f}  {answered:11}  {wrong:11.1f}  {silent:9}")


def print_shares(answers: dict[str, set[str]], scores: dict[str, dict[str, float]]) -> None:
    """Print, for groups of pages with about the same score, the mean score and what share is right."""
    pairs = [(score, page in answers[name]) for name in answers for page, score in scores[name].items()]
    print("\nscore         pages  right  mean score  share right")
    for low, high in pairwise((0.0, 0.05, 0.2, 0.5, 1.0)):
        group = [(score, right) for score, right in pairs if low <= score < high]
        right = sum(right for _, right in group)
        mean = sum(score for score, _ in group) / len(group)
        print(f"{low:.2f} to {high:.2f}  {len(group):5}  {right:5}  {mean:10.2f}  {right / len(group):11.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
