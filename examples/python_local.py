"""Score and rank in this process, without any server."""

import rerank_core

model = rerank_core.load("lite")  # without a name: BAAI/bge-reranker-v2-m3, from the Hugging Face hub

passages = [
    "Paris is the capital of France.",
    "The giant panda is a bear species endemic to China.",
    "pandas is a Python library for data analysis.",
]
for found in rerank_core.rerank(model, "what is a giant panda?", passages, top_n=2):
    print(f"{found.score:.3f}  {passages[found.index]}")
