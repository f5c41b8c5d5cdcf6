"""LangChain's package for Cohere."""

import cohere
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Returns, Waits, run
from langchain_cohere import CohereRerank
from langchain_core.documents import Document


def compress(ask: Ask) -> Ranking:
    reranker = CohereRerank(model=ask.model, cohere_api_key=ask.key, base_url=ask.url, top_n=10)
    documents = [Document(text, metadata={"index": index}) for index, text in enumerate(ask.documents)]
    ranked = reranker.compress_documents(documents, ask.query)
    return [(document.metadata["index"], document.metadata["relevance_score"]) for document in ranked]


run(
    [
        Client(
            name="LangChain CohereRerank",
            package="langchain-cohere",
            ask=compress,
            expected={
                EMPTY: Returns([]),
                KEY: Raises(cohere.UnauthorizedError),
                MODEL: Raises(cohere.NotFoundError),
                FULL: Waits(),
            },
        )
    ]
)
