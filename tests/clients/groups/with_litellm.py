"""LiteLLM, with the providers that a reranker of one's own can stand in for."""

import asyncio

import litellm
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Ranks, run

litellm.suppress_debug_info = True
litellm.telemetry = False


def ranking(ask: Ask, answer, *, documents: bool) -> Ranking:
    if documents:
        assert all(result["document"]["text"] == ask.documents[result["index"]] for result in answer.results)
    return [(result["index"], result["relevance_score"]) for result in answer.results]


def provider(name: str, path: str, *, documents: bool = True, **more):
    def ask(ask: Ask) -> Ranking:
        answer = litellm.rerank(
            model=f"{name}/{ask.model}",
            query=ask.query,
            documents=ask.documents,
            api_base=ask.url + path,
            api_key=ask.key,
            **more,
            **({} if ask.instruction is None else {"instruction": ask.instruction}),
        )
        return ranking(ask, answer, documents=documents)

    return ask


def cohere_async(ask: Ask) -> Ranking:
    answer = asyncio.run(
        litellm.arerank(
            model=f"cohere/{ask.model}", query=ask.query, documents=ask.documents, api_base=ask.url, api_key=ask.key
        )
    )
    return ranking(ask, answer, documents=False)  # it asks for none, unlike its sister


EXPECTED = {
    EMPTY: Raises(litellm.BadRequestError),
    KEY: Raises(litellm.AuthenticationError),
    MODEL: Raises(litellm.NotFoundError),
    FULL: Raises(litellm.RateLimitError),
}
OTHER_MODEL_IS_WRONG = EXPECTED | {MODEL: Raises(litellm.BadRequestError)}


def client(name: str, ask, expected=EXPECTED, *, instructs: bool = False) -> Client:
    return Client(name=f"LiteLLM, {name}", package="litellm", ask=ask, expected=expected, instructs=instructs)


run(
    [
        client("cohere", provider("cohere", "")),
        client("cohere, async", cohere_async),
        client("jina_ai", provider("jina_ai", "")),
        client("hosted_vllm", provider("hosted_vllm", ""), instructs=True),
        client("huggingface", provider("huggingface", "", documents=False), EXPECTED | {MODEL: Ranks()}),
        client("infinity", provider("infinity", "/infinity"), OTHER_MODEL_IS_WRONG),
        client("voyage", provider("voyage", "/voyage", documents=False), OTHER_MODEL_IS_WRONG),
    ]
)
