"""Scores from a rerank-server, over HTTP."""
