"""Ignore warnings of other libraries; Python imports this before the program that it runs."""

import warnings

# langsmith, which comes with langchain-core, is not ready for Python 3.14.
warnings.filterwarnings("ignore", message="'asyncio.iscoroutinefunction' is deprecated", module="langsmith")
