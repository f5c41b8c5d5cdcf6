"""Ask a server that runs at http://localhost:8000 (README, Server). Needs rerank-core and rerank-integrations."""

from rerank_core import rerank
from rerank_integrations.client import HTTPScorer

passages = [
    "Paris is the capital of France.",
    "The giant panda is a bear species endemic to China.",
    "pandas is a Python library for data analysis.",
]
with HTTPScorer("http://localhost:8000") as scorer:
    for found in rerank(scorer, "what is a giant panda?", passages, top_n=2):
        print(f"{found.score:.3f}  {passages[found.index]}")
