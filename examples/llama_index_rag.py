"""A LlamaIndex query engine whose nodes are put in order."""

from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from rerank_integrations.llama_index import RerankPostprocessor

texts = [
    "Paris is the capital of France.",
    "The giant panda is a bear species endemic to China.",
    "pandas is a Python library for data analysis.",
]
index = VectorStoreIndex.from_documents(
    [Document(text=text) for text in texts],
    embed_model=MockEmbedding(embed_dim=8),  # your own embedding and LLM go here
)
engine = index.as_query_engine(
    llm=MockLLM(),
    similarity_top_k=3,
    node_postprocessors=[RerankPostprocessor.from_url("http://localhost:8000", top_n=2)],
)
for node in engine.query("what is a giant panda?").source_nodes:
    print(f"{node.score:.3f}  {node.text}")
