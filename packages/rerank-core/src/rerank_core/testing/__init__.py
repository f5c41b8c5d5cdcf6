"""Helps to test anything that scores: doubles, the contract, tiny checkpoints.

A test module imports everything from ``rerank_core.testing.contract`` and defines a fixture named ``scorer``.
"""

import importlib.util

if importlib.util.find_spec("pytest") is not None:
    import pytest

    pytest.register_assert_rewrite("rerank_core.testing.contract")
