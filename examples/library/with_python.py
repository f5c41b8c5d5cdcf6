"""Search, then rerank: the order before and after."""

import rerank_core
from handbook import PAGES, search

question = "Who shows me how to get e-books onto my tablet?"
found = search(question, k=10)

model = rerank_core.load("lite")
best = rerank_core.rerank(model, question, [PAGES[page] for page in found])

print("place  before             after              score")
for place in range(5):
    after = best[place]
    print(f"{place + 1:5}  {found[place]:17}  {found[after.index]:17}  {after.score:.3f}")
