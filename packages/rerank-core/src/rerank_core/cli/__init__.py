"""The command ``rerank``."""

from rerank_core.cli.main import main

__all__ = ["main"]
