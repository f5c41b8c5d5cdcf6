"""A model in this process that loads when it first scores."""

from rerank_integrations.adapters.local import ModelScorer

__all__ = ["ModelScorer"]
