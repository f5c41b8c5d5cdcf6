"""The client for a rerank-server."""

from rerank_integrations.http.scorer import HTTPScorer

__all__ = ["HTTPScorer"]
