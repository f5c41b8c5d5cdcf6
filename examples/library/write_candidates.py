"""Write what the search finds for each question into candidates.jsonl, where `rerank eval` looks for it."""

import json

from handbook import FOLDER, read, search

lines = [
    json.dumps({"query_id": name, "candidates": search(question, k=20)})
    for name, question in read("queries.jsonl").items()
]
(FOLDER / "candidates.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
