"""The reranker as an HTTP server."""

from importlib.metadata import version

__version__ = version("rerank-server")
