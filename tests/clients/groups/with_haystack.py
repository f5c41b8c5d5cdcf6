"""Haystack's rankers."""

from cases import EMPTY, FULL, KEY, MODEL, Ask, AsksAgain, Client, Raises, Ranking, Returns, SendsNone, Waits, run
from cohere import BadRequestError, NotFoundError, UnauthorizedError
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker


def by(ranker):
    def ask(ask: Ask) -> Ranking:
        documents = [Document(content=text, meta={"index": index}) for index, text in enumerate(ask.documents)]
        ranked = ranker(ask).run(query=ask.query, documents=documents)["documents"]
        return [(document.meta["index"], document.score) for document in ranked]

    return ask


run(
    [
        Client(
            name="Haystack HuggingFaceTEIRanker",
            package="huggingface-api-haystack",
            ask=by(lambda ask: HuggingFaceTEIRanker(url=ask.url, token=Secret.from_token(ask.key))),
            expected={EMPTY: Returns([]), KEY: Raises(RuntimeError), MODEL: SendsNone(), FULL: AsksAgain()},
        ),
        Client(
            name="Haystack JinaRanker",
            package="jina-haystack",
            ask=by(
                lambda ask: JinaRanker(
                    base_url=f"{ask.url}/v1/rerank", api_key=Secret.from_token(ask.key), model=ask.model
                )
            ),
            expected={EMPTY: Returns([])} | dict.fromkeys((KEY, MODEL, FULL), Raises(RuntimeError)),
        ),
        Client(
            name="Haystack CohereRanker",
            package="cohere-haystack",
            ask=by(lambda ask: CohereRanker(api_base_url=ask.url, api_key=Secret.from_token(ask.key), model=ask.model)),
            expected={
                EMPTY: Raises(BadRequestError),
                KEY: Raises(UnauthorizedError),
                MODEL: Raises(NotFoundError),
                FULL: Waits(),
            },
        ),
    ]
)
