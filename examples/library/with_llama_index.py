"""A LlamaIndex query engine that gives the three best pages to the language model."""

from handbook import PAGES, search
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from rerank_integrations.llama_index import RerankPostprocessor


class KeywordRetriever(BaseRetriever):
    """BM25 over the handbook: your own retriever goes here."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        pages = search(query_bundle.query_str, k=10)
        return [NodeWithScore(node=TextNode(id_=page, text=PAGES[page])) for page in pages]


engine = RetrieverQueryEngine.from_args(
    KeywordRetriever(),
    llm=MockLLM(),  # your own language model goes here
    node_postprocessors=[RerankPostprocessor.from_model("lite", top_n=3)],
)

question = "Who shows me how to get e-books onto my tablet?"
print("before:", [node.node_id for node in engine.retriever.retrieve(question)[:3]])
for node in engine.query(question).source_nodes:
    print(f"{node.score:.3f}  {node.node_id}")
