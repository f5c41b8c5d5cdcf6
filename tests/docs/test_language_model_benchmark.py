"""The benchmark of language models fails where the bits of a score depend on more than its pair."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

DOCUMENTS = ["a bear", "a giant panda", "bamboo"]


def of_the_pair(documents: Sequence[str]) -> list[float]:
    return [float(len(document)) for document in documents]


def of_the_company(documents: Sequence[str]) -> list[float]:
    """Differ in the last bit where there is more than one document."""
    return [score + (2**-50 if len(documents) > 1 else 0.0) for score in of_the_pair(documents)]


def of_the_place(documents: Sequence[str]) -> list[float]:
    """Differ in the last bits for each place behind the first."""
    return [score + place * 2**-49 for place, score in enumerate(of_the_pair(documents))]


def of_the_document_before(documents: Sequence[str]) -> list[float]:
    """Differ where the document before is longer: not in the first order of these documents, but in the other."""
    before = [len(document) for document in documents]
    return [
        score + (2**-49 if place and before[place - 1] > before[place] else 0.0)
        for place, score in enumerate(of_the_pair(documents))
    ]


@pytest.mark.parametrize(
    ("score", "documents", "same"),
    [
        (of_the_pair, DOCUMENTS, True),
        (of_the_company, DOCUMENTS, False),
        (of_the_place, DOCUMENTS, False),
        (of_the_document_before, sorted(DOCUMENTS, key=len), False),
    ],
)
def test_a_score_has_the_same_bits_alone_in_company_and_in_another_order(
    benchmark: Callable[[str], Any], score: Callable[[Sequence[str]], list[float]], documents: list[str], same: bool
) -> None:
    assert benchmark("bench_language_models").has_same_bits(score, documents) is same
