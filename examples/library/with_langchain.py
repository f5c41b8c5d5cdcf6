"""A LangChain chain that puts the three best pages into the prompt."""

from handbook import PAGES, search
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from rerank_integrations.langchain import RerankCompressor


class KeywordRetriever(BaseRetriever):
    """BM25 over the handbook: your own retriever goes here."""

    k: int = 10

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(PAGES[page], id=page) for page in search(query, self.k)]


def join(documents: list[Document]) -> str:
    return "\n".join(f"[{document.id}] {document.page_content}" for document in documents)


before = KeywordRetriever(k=3)
after = ContextualCompressionRetriever(
    base_retriever=KeywordRetriever(k=10),
    base_compressor=RerankCompressor.from_model("lite", top_n=3),
)
prompt = ChatPromptTemplate.from_template("Answer from these pages only.\n\n{pages}\n\nQuestion: {question}")
chain = {"pages": after | join, "question": RunnablePassthrough()} | prompt  # | your chat model

question = "Who shows me how to get e-books onto my tablet?"
print("before:", [document.id for document in before.invoke(question)])
print("after: ", [document.id for document in after.invoke(question)])
print(chain.invoke(question).to_string())
