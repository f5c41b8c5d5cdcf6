"""A LangChain retriever whose hits are put in order. Needs `langchain-classic` beside our extra `langchain`."""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from rerank_integrations.langchain import RerankCompressor

store = InMemoryVectorStore(DeterministicFakeEmbedding(size=64))  # your own embedding goes here
store.add_documents(
    [
        Document("Paris is the capital of France."),
        Document("The giant panda is a bear species endemic to China."),
        Document("pandas is a Python library for data analysis."),
    ]
)
retriever = ContextualCompressionRetriever(
    base_retriever=store.as_retriever(search_kwargs={"k": 3}),
    base_compressor=RerankCompressor.from_url("http://localhost:8000", top_n=2),
)
for document in retriever.invoke("what is a giant panda?"):
    print(f"{document.metadata['relevance_score']:.3f}  {document.page_content}")
