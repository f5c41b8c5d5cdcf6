"""LangChain's package for NVIDIA NIM."""

import asyncio

from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Returns, run
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank


def reranker(ask: Ask) -> NVIDIARerank:
    return NVIDIARerank(base_url=f"{ask.url}/v1", model=ask.model, api_key=ask.key, top_n=10)


def documents(ask: Ask) -> list[Document]:
    return [Document(page_content=text, metadata={"index": index}) for index, text in enumerate(ask.documents)]


def ranking(ranked) -> Ranking:
    return [(document.metadata["index"], document.metadata["relevance_score"]) for document in ranked]


def compress(ask: Ask) -> Ranking:
    return ranking(reranker(ask).compress_documents(documents(ask), ask.query))


def compress_async(ask: Ask) -> Ranking:
    return ranking(asyncio.run(reranker(ask).acompress_documents(documents(ask), ask.query)))


# A bare Exception is all that it has.
EXPECTED = {EMPTY: Returns([]), KEY: Raises(Exception), MODEL: Raises(Exception), FULL: Raises(Exception)}
PACKAGE = "langchain-nvidia-ai-endpoints"

run(
    [
        Client(name="LangChain NVIDIARerank", package=PACKAGE, ask=compress, expected=EXPECTED, logits=True),
        Client(
            name="LangChain NVIDIARerank, async", package=PACKAGE, ask=compress_async, expected=EXPECTED, logits=True
        ),
    ]
)
