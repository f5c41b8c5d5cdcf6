"""A LangChain retriever whose hits are put in order. Needs `langchain-classic` beside our extra `langchain`."""

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from rerank_integrations.langchain import RerankCompressor

documents = [
    Document("Paris is the capital of France."),
    Document("The giant panda is a bear species endemic to China."),
    Document("pandas is a Python library for data analysis."),
]
retriever = ContextualCompressionRetriever(
    base_retriever=RunnableLambda(lambda question: documents),  # your own retriever goes here
    base_compressor=RerankCompressor.from_url("http://localhost:8000", top_n=2),
)
for document in retriever.invoke("what is a giant panda?"):
    print(f"{document.metadata['relevance_score']:.3f}  {document.page_content}")
