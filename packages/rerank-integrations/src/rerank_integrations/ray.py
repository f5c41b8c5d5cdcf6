"""Whole data sets on a Ray cluster."""

from rerank_integrations.batch.on_ray import score_files_on_ray

__all__ = ["score_files_on_ray"]
