"""The public names of the packages: what users may import, and what the Python reference describes."""

from __future__ import annotations

# By module, in the order of the reference. The names of rerank_core are those of its `__all__`.
MODULES: dict[str, tuple[str, ...]] = {
    "rerank_core": (),
    "rerank_core.errors": ("RerankError", "error_class"),
    "rerank_core.types": (
        "Calibration", "Encoding", "ModelInfo", "Pair", "RankedDocument", "ScoreOptions", "Scored", "Scores",
        "Sentence", "Span", "TokenSequence", "Usage",
    ),
    "rerank_core.scorer": ("AsyncScorer", "Scorer", "StepwiseModel"),
    "rerank_core.models.task": ("Output", "Task"),
    "rerank_core.engines.base": ("Batch", "Engine", "Plan"),
    "rerank_core.engines.target": ("Target", "Unsupported"),
    "rerank_core.ranking": ("Ranking", "rank", "rerank"),
    "rerank_integrations.langchain": ("RerankCompressor", "RerankCrossEncoder"),
    "rerank_integrations.llama_index": ("RerankPostprocessor",),
    "rerank_integrations.client": ("HTTPScorer",),
    "rerank_integrations.local": ("ModelScorer",),
    "rerank_integrations.batch": ("Columns", "Job", "Summary", "score_files"),
    "rerank_integrations.ray": ("score_files_on_ray",),
    "rerank_server.__main__": ("COMMAND", "application", "main"),
    "rerank_server.ray": ("build",),
    "rerank_core.cli": ("main",),
    "rerank_core.cli.main": ("main",),
    "rerank_core.cli.command": ("Command",),
    "rerank_core.testing.contract": ("test_a_scorer_satisfies_the_seam",),
    "rerank_core.testing.doubles": ("FailingScorer", "OverlapModel"),
    "rerank_core.testing.checkpoints": ("write_tiny_checkpoint",),
}  # fmt: skip
