"""Chooses the outputs of a classification head that are the score.

A head with one output is the usual one. A head with two, one for "relevant" and one for "not relevant", was trained
with a softmax over both; the difference of the two logits is the logit of that probability, so sigmoid(raw) is the
softmax's number for "relevant". See docs/decisions/0007-two-logits.md.
"""

from __future__ import annotations

from dataclasses import dataclass

# The label of a pair that answers, and the label of one that does not. Letters and digits only, in lower case.
_RELEVANCE = [
    ("relevant", "irrelevant"),
    ("relevant", "notrelevant"),
    ("relevant", "nonrelevant"),
    ("relevant", "unrelevant"),
    ("yes", "no"),
    ("true", "false"),
    ("match", "nomatch"),
    ("match", "notmatch"),
    ("match", "nonmatch"),
]
# Names of nothing: the second output is the answer where the recipe of a prompt has a pair of answers.
_NOTHING = [
    ("label1", "label0"),
    ("1", "0"),
]
# Names of a sentiment, of an inference, or of nothing: they mean relevance only where the checkpoint says that it is a
# cross-encoder of sentence-transformers.
_ANYTHING = [
    *_NOTHING,
    ("positive", "negative"),
    ("pos", "neg"),
    ("entailment", "notentailment"),
]


@dataclass(frozen=True, slots=True)
class HeadColumns:
    """The raw score: the logit of column ``label``, less that of column ``against`` where there is one."""

    label: int
    against: int | None = None


def two_logits(labels: tuple[str, ...], *, is_reranker: bool, has_answers: bool = False) -> HeadColumns | None:
    """Find the columns of a head with two outputs; None where no label's name says which one means relevant.

    ``has_answers``: the recipe of the model's prompt has two answers, "no" and "yes" or "0" and "1".
    """
    first, second = ("".join(filter(str.isalnum, label.casefold())) for label in labels)
    known = _RELEVANCE + (_ANYTHING if is_reranker else _NOTHING if has_answers else [])
    if (second, first) in known:
        return HeadColumns(1, against=0)
    if (first, second) in known:
        return HeadColumns(0, against=1)
    return None
