"""Clients from npm: the SDKs of Cohere and Voyage, LangChain.js, and the AI SDK of Vercel."""

from cases import EMPTY, FULL, KEY, MODEL, Client, Raises, Returns, Waits, run
from javascript import asks, error

COHERE = {
    EMPTY: Raises(error("BadRequestError")),
    KEY: Raises(error("UnauthorizedError")),
    MODEL: Raises(error("NotFoundError")),
    FULL: Waits(),
}
VOYAGE = dict.fromkeys((EMPTY, KEY, MODEL), Raises(error("VoyageAIError")))
AI = dict.fromkeys((KEY, MODEL), Raises(error("AI_APICallError")))

run(
    [
        Client(name="cohere-ai v2", package=None, ask=asks("cohere", "v2"), expected=COHERE),
        Client(name="cohere-ai v1", package=None, ask=asks("cohere", "v1"), expected=COHERE),
        Client(
            name="@langchain/cohere",
            package=None,
            ask=asks("langchain", "compress"),
            expected=COHERE | {EMPTY: Returns([])},
        ),
        Client(
            name="AI SDK, cohere",
            package=None,
            ask=asks("ai", "ranked"),
            expected={**AI, EMPTY: Returns([]), FULL: Waits()},
        ),
        Client(
            name="voyageai for JavaScript",
            package=None,
            ask=asks("voyage", "ranked"),
            expected={**VOYAGE, FULL: Waits()},
        ),
    ]
)
