"""Language models say what was published of them: their prompt, the position that is read, and the sign are right."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import rerank_core
from rerank_core.errors import CheckpointError
from rerank_core.types import ScoreOptions

CAPITAL = "What is the capital of China?"
BEIJING = "The capital of China is Beijing."
GRAVITY = (
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible for the movement of planets around the sun."
)
RED_PLANET = "Which planet is known as the Red Planet?"
PLANETS = [
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
]
BREAD = [
    "Sourdough bread requires a starter made from flour and water, fermented over several days.",
    "The history of bread dates back to ancient Egypt around 8000 BCE.",
    "To bake sourdough, mix your starter with flour, water, and salt, then let it rise overnight.",
    "Rye bread is a popular alternative to wheat-based breads in Northern Europe.",
]
EXERCISE = [
    "A 2024 study shows exercise enhances cognitive function in older adults.",
    "Regular exercise reduces risk of heart disease and improves mental health.",
    "Ancient Greeks valued physical fitness for military training.",
]
DOG = (
    "A woman shares a joyful moment with her golden retriever on a sun-drenched beach at sunset, as the dog offers its "
    "paw in a heartwarming display of companionship and trust."
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Scores that were published of a model; ``within``: as near as the dtype that they were computed in allows."""

    model: str
    query: str
    documents: list[str]
    scores: list[float]
    within: float = 2e-3
    raw: bool = True
    options: dict[str, Any] = field(default_factory=dict)


QWEN = "Qwen/Qwen3-Reranker-0.6B"
HEAD = "tomaarsen/Qwen3-Reranker-0.6B-seq-cls"
PUBLISHED = {
    # float32 on a CPU, by cohere-ai/rcp-ndcg (card-st-logits.yaml).
    "Qwen3-Reranker's card": Published(
        model=QWEN,
        query=CAPITAL,
        documents=[BEIJING, GRAVITY],
        scores=[7.596951, -12.192464],
    ),
    # bfloat16, by their cards: in float32 the second score of the smallest is 0.82 from its card's.
    "Qwen3-Reranker-4B's card": Published(
        model="Qwen/Qwen3-Reranker-4B",
        query=CAPITAL,
        documents=[BEIJING, GRAVITY],
        scores=[6.4375, -14.375],
        within=1.0,
    ),
    "Qwen3-Reranker-8B's card": Published(
        model="Qwen/Qwen3-Reranker-8B",
        query=CAPITAL,
        documents=[BEIJING, GRAVITY],
        scores=[5.0625, -14.25],
        within=1.0,
    ),
    # float32, by sentence-transformers' tests (tests/cross_encoder/test_model.py).
    "Qwen3-Reranker, planets": Published(
        model=QWEN,
        query=RED_PLANET,
        documents=PLANETS,
        scores=[-3.109297752, 7.120389938, -0.378754616, 3.541637421],
    ),
    # The same weights with a classification head.
    "Qwen3-Reranker with a head, planets": Published(
        model=HEAD,
        query=RED_PLANET,
        documents=PLANETS,
        scores=[-3.109297752, 7.120389938, -0.378754616, 3.541637421],
        options={"recipe": "qwen3-reranker"},
    ),
    # bfloat16, by sentence-transformers' tests (test_pretrained.py): what the missing prompt does.
    "Qwen3-Reranker with a head, without its prompt": Published(
        model=HEAD,
        query=RED_PLANET,
        documents=PLANETS,
        scores=[0.55859, 0.98828, 0.88672, 0.91016],
        within=0.02,
        raw=False,
        options={"recipe": "none"},
    ),
    # float32, by Hugging Face's blog on multimodal rerankers with sentence-transformers (2026-04).
    "mxbai-rerank-base-v2 by its own files": Published(
        model="mixedbread-ai/mxbai-rerank-base-v2",
        query="How do I bake sourdough bread?",
        documents=BREAD,
        scores=[7.3077507, -2.6217823, 8.724761, -2.2488995],
    ),
    # float32 on a CPU, by mteb (PR 5057).
    "Qwen3-VL-Reranker-2B, text": Published(
        model="Qwen/Qwen3-VL-Reranker-2B",
        query="A woman playing with her dog on a beach at sunset.",
        documents=[DOG],
        scores=[1.7737],
        within=1e-2,
        options={"instruction": "Retrieve images or text relevant to the user's query."},
    ),
    # bfloat16, by its card since 2026-05; the card before differs by .17.
    "zerank-2's card": Published(
        model="zeroentropy/zerank-2-reranker",
        query="What is 2+2?",
        documents=["4", "The answer is definitely 1 million"],
        scores=[5.4062, -4.5],
        within=0.25,
    ),
    # bfloat16, by sentence-transformers' tests (test_pretrained.py), with the model's own code: sigmoid(logit / 5).
    "zerank-1-small, planets": Published(
        model="zeroentropy/zerank-1-small-reranker",
        query=RED_PLANET,
        documents=PLANETS,
        scores=[0.09428, 0.83889, 0.12052, 0.2184],
        within=0.02,
        raw=False,
        options={"calibration": "0.2,0"},
    ),
    # bfloat16, by its card since spring 2026.
    "ctxl-rerank-v2 6b's card": Published(
        model="ContextualAI/ctxl-rerank-v2-instruct-multilingual-6b",
        query="What are the health benefits of exercise?",
        documents=EXERCISE,
        scores=[-2.2969, -4.6875, -12.375],
        within=0.25,
        options={"instruction": "Prioritize recent medical research"},
    ),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED)
def test_published_scores_are_ours(published: Published) -> None:
    try:
        model = rerank_core.load(published.model, **published.options)
    except CheckpointError as error:
        if "could not be reached" not in str(error):
            raise
        pytest.skip(f"SKIPPED LOUDLY: the published scores of {published.model} were not checked: {error}")

    scores = model.score(published.query, published.documents, ScoreOptions(raw=published.raw))

    assert list(scores.values) == pytest.approx(published.scores, abs=published.within)
