"""The reranker as a sidecar that speaks HTTP."""
