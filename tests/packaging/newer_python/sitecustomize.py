"""Warnings of other libraries that no test of ours may fail for; Python imports this before any program."""

import warnings

# langsmith, which comes with langchain-core, is not ready for Python 3.14.
warnings.filterwarnings("ignore", message="'asyncio.iscoroutinefunction' is deprecated", module="langsmith")
