"""LlamaIndex's postprocessors."""

import cohere
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Returns, SendsNone, Waits, run
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from llama_index.postprocessor.xinference_rerank import XinferenceRerank


def by(postprocessor):
    def ask(ask: Ask) -> Ranking:
        nodes = [
            NodeWithScore(node=TextNode(text=text, id_=str(index)), score=0.0)
            for index, text in enumerate(ask.documents)
        ]
        ranked = postprocessor(ask).postprocess_nodes(nodes, query_str=ask.query)
        return [(int(node.node.node_id), node.score) for node in ranked]

    return ask


def client(name: str, package: str, ask, expected, **more) -> Client:
    return Client(
        name=f"LlamaIndex {name}",
        package=f"llama-index-postprocessor-{package}",
        ask=ask,
        expected={EMPTY: Returns([])} | expected,
        **more,
    )


def each(expected):
    return dict.fromkeys((KEY, MODEL, FULL), expected)


run(
    [
        client(
            "CohereRerank",
            "cohere-rerank",
            by(lambda ask: CohereRerank(api_key=ask.key, base_url=ask.url, model=ask.model, top_n=10)),
            {KEY: Raises(cohere.UnauthorizedError), MODEL: Raises(cohere.NotFoundError), FULL: Waits()},
        ),
        client(
            "TextEmbeddingInference",
            "tei-rerank",
            by(lambda ask: TextEmbeddingInference(base_url=ask.url, auth_token=f"Bearer {ask.key}", top_n=10)),
            each(Raises(AssertionError, silent=True)) | {MODEL: SendsNone()},  # it looks at no status
        ),
        client(
            "JinaRerank",
            "jinaai-rerank",
            by(lambda ask: JinaRerank(base_url=f"{ask.url}/v1", api_key=ask.key, model=ask.model, top_n=10)),
            each(Raises(RuntimeError)),
        ),
        client(
            "XinferenceRerank",
            "xinference-rerank",
            by(lambda ask: XinferenceRerank(base_url=ask.url, model=ask.model, top_n=10)),
            each(Raises(Exception)),
            sends_key=False,
        ),
        client(
            "SiliconFlowRerank",
            "siliconflow-rerank",
            by(
                lambda ask: SiliconFlowRerank(
                    base_url=f"{ask.url}/v1/rerank", api_key=ask.key, model=ask.model, top_n=10
                )
            ),
            each(Raises(RuntimeError)),
        ),
    ]
)
