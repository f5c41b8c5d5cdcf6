"""Examples and descriptions that the dialects have in common, for the OpenAPI document."""

from __future__ import annotations

from rerank_server.dialects.base import Reply

QUERY = "what is a panda?"
PANDA = "The giant panda is a bear of China."
PARIS = "Paris is a city."
DOCUMENTS = [PARIS, PANDA]
REQUEST = {"query": QUERY, "documents": DOCUMENTS, "top_n": 1}
MODEL = "BAAI/bge-reranker-v2-m3"
REPLY = Reply(id="6f8c2a1e-6f0f-4d34-9a3e-0a9b8f0a7c11", created=1767225600)
SCORE_ID = "score-" + REPLY.id.replace("-", "")
ERROR_DESCRIPTIONS = {
    400: "The body is invalid.",
    404: "The request names another model, and RERANK_STRICT_MODEL is set.",
}
