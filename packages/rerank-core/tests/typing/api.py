"""The public API as a type checker sees it. Checked by mypy, never run."""

from typing import assert_type

import rerank_core
from rerank_core import (
    AsyncScorer,
    ModelInfo,
    RankedDocument,
    Ranking,
    ScoreOptions,
    Scorer,
    Scores,
    Sentence,
    Span,
    StepwiseModel,
    Usage,
)
from rerank_core.errors import RerankError, error_class
from rerank_core.models.local import LocalModel
from rerank_core.testing.doubles import FailingScorer, OverlapModel
from rerank_core.types import Encoding

model = rerank_core.load("lite", max_length=256, truncation="only_second", label=None, threads=2)
assert_type(model, LocalModel)
assert_type(model.info, ModelInfo)

scores = model.score("query", ["document"], ScoreOptions(raw=True, truncate=False, truncation_side="left"))
assert_type(scores, Scores)
assert_type(scores.values, tuple[float, ...])
assert_type(scores[0], float)
assert_type(scores[1:], tuple[float, ...])
assert_type(list(scores), list[float])
assert_type(scores.usage, Usage)
assert_type(scores.sentences, tuple[tuple[Sentence, ...] | None, ...] | None)
assert_type(scores.spans, tuple[Span | None, ...] | None)

ranked = rerank_core.rerank(model, "query", ("a", "tuple"), top_n=3, threshold=0.5)
assert_type(ranked, Ranking)
assert_type(ranked[:2], Ranking)
assert_type(ranked[0].document, str | None)
assert_type(rerank_core.rerank(model, "query", (text for text in "ab"), raw=True, progress=True), Ranking)
a_list: list[RankedDocument] = ranked
assert_type(model.score("query", {1: "text"}.values()), Scores)
assert_type(model.score_pairs([("query", "document"), ["query", "document"]]), Scores)
assert_type(model.score_pairs(zip(["query"], ["document"], strict=True)), Scores)
assert_type(rerank_core.rank(scores, ["document"]), Ranking)
assert_type(ranked[0].score, float)
assert_type(rerank_core.__version__, str)
assert_type(error_class("overloaded"), type[RerankError] | None)
assert_type(model.encode("q", ["d"], ScoreOptions()), list[Encoding])

rerank_core.load("m", truncation="shortest")  # type: ignore[arg-type]
rerank_core.rerank(model, "query", 7)  # type: ignore[arg-type]


def the_seam_is_satisfied(local: LocalModel, double: OverlapModel, failing: FailingScorer) -> None:
    scorers: list[Scorer] = [local, double, failing]
    waiting: list[AsyncScorer] = [double, failing]
    steps: list[StepwiseModel] = [local, double]
    assert scorers
    assert waiting
    assert steps
