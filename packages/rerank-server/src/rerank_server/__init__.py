"""The reranker as a sidecar that speaks HTTP."""

from importlib.metadata import version

__version__ = version("rerank-server")
