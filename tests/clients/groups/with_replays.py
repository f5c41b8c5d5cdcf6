"""Programs that are too large to install: what they send, and what they read of the answer, with plain httpx.

Open WebUI is a reading of `retrieval/models/external.py`, Dify of its rerank plugins, RAGFlow of
`rag/llm/rerank_model.py`, LightRAG of `lightrag/rerank.py`, requests to vLLM are a reading of its
`entrypoints/pooling/scoring/protocol.py`, and those to SGLang of its `srt/entrypoints/openai/protocol.py`. Those that
look at no status get their answer checked here for the reason, which they would show in their log at best.
"""

from urllib.parse import urljoin

import httpx
from cases import EMPTY, FULL, KEY, MODEL, Ask, Client, Raises, Ranking, Returns, SendsNone, run

CLIENT = httpx.Client(timeout=30, trust_env=False)


class Refused(Exception):
    """The server's answer, which is none."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text}")
        self.status = answer.status_code


def post(url: str, ask: Ask, body: dict, *, key: bool = True) -> dict | list:
    headers = {"Authorization": f"Bearer {ask.key}"} if key else {}
    answer = CLIENT.post(url, json=body, headers=headers)
    if answer.status_code != 200:
        raise Refused(answer)
    return answer.json()


def best_first(results: list[dict]) -> Ranking:
    return [(result["index"], result["relevance_score"]) for result in results]


def from_scores(scores: list[float]) -> Ranking:
    """Of a program that takes scores in document order."""
    return sorted(enumerate(scores), key=lambda one: -one[1])


def ours(ask: Ask, **more) -> dict:
    return {"model": ask.model, "query": ask.query, "documents": ask.documents, **more}


# ---------------------------------------------------------------------------- Open WebUI


def open_webui(ask: Ask) -> Ranking | None:
    try:
        answer = post(f"{ask.url}/v1/rerank", ask, ours(ask, top_n=len(ask.documents)))
        results = sorted(answer["results"], key=lambda result: result["index"])
        return from_scores([result["relevance_score"] for result in results])  # one for each document, or it is wrong
    except Exception:
        return None  # logged; the documents stay in the order they had


# ---------------------------------------------------------------------------- Dify


def dify_openai(ask: Ask) -> Ranking:
    answer = post(f"{ask.url}/v1/rerank", ask, ours(ask, top_n=None, return_documents=True))
    assert all(result["document"]["text"] == ask.documents[result["index"]] for result in answer["results"])
    return best_first(answer["results"])


def dify_tei(ask: Ask) -> Ranking:
    headers = {"Authorization": f"Bearer {ask.key}"}
    about = CLIENT.get(f"{ask.url}/info", headers=headers)
    if about.status_code == 200:
        assert "reranker" in about.json()["model_type"]
        assert about.json()["max_input_length"] > 0
    body = {"query": ask.query, "texts": ask.documents, "return_text": True}
    answer = post(f"{ask.url}/rerank", ask, body)
    assert all(item["text"] == ask.documents[item["index"]] for item in answer)
    return [(item["index"], item["score"]) for item in answer]


def dify_localai(ask: Ask) -> Ranking:
    answer = post(f"{ask.url}/rerank", ask, ours(ask, top_n=len(ask.documents)))
    texts = [result["document"]["text"] for result in answer["results"] if "document" in result]
    assert len(texts) in (0, len(ask.documents))
    return best_first(answer["results"])


def dify_jina(ask: Ask) -> Ranking:
    return best_first(post(f"{ask.url}/v1/rerank", ask, ours(ask, top_n=None))["results"])


def dify_xinference(ask: Ask) -> Ranking:
    body = ours(ask, top_n=None, max_chunks_per_doc=None, return_documents=True, return_len=None, kwargs="{}")
    answer = post(f"{ask.url}/v1/rerank", ask, body)
    assert all(result["document"]["text"] == ask.documents[result["index"]] for result in answer["results"])
    return best_first(answer["results"])


# ---------------------------------------------------------------------------- RAGFlow


def in_zero_to_one(scores: list[float]) -> Ranking:
    """RAGFlow stretches what leaves [0, 1], and a single hit is 0.0 then."""
    assert all(0 <= score <= 1 for score in scores)
    return from_scores(scores)


def ragflow_tei(ask: Ask) -> Ranking:
    scores = [0.0] * len(ask.documents)
    for start in range(0, len(ask.documents) or 1, 8):
        texts = ask.documents[start : start + 8]
        body = {"query": ask.query, "texts": texts, "raw_scores": False, "truncate": True}
        for item in post(f"{ask.url}/rerank", ask, body):
            scores[start + item["index"]] = item["score"]
    return in_zero_to_one(scores)


def ragflow(path: str, *, key: bool = True, **more):
    def ask(ask: Ask) -> Ranking:
        answer = post(urljoin(f"{ask.url}/", path), ask, ours(ask, **more), key=key)
        assert answer["usage"]["total_tokens"] > 0
        scores = [0.0] * len(ask.documents)
        for result in answer["results"]:
            scores[result["index"]] = result["relevance_score"]
        return in_zero_to_one(scores)

    return ask


# ---------------------------------------------------------------------------- LightRAG


def lightrag(path: str, **more):
    def ask(ask: Ask) -> Ranking:
        return best_first(post(ask.url + path, ask, ours(ask, top_n=len(ask.documents), **more)).get("results", []))

    return ask


# ---------------------------------------------------------------------------- whoever asks vLLM


def vllm(instructed):
    def ask(ask: Ask) -> Ranking:
        more = {} if ask.instruction is None else instructed(ask.instruction)
        body = ours(ask, top_n=0, **more)
        answer = post(f"{ask.url}/vllm/v1/rerank", ask, body)
        assert all(result["document"]["text"] == ask.documents[result["index"]] for result in answer["results"])
        assert answer["usage"]["total_tokens"] > 0
        return best_first(answer["results"])

    return ask


# ---------------------------------------------------------------------------- whoever asks SGLang


def sglang(ask: Ask) -> Ranking:
    """Send SGLang's request, and read our answer: SGLang's own is a list of `score`, `index` and `document`."""
    more = {} if ask.instruction is None else {"instruct": ask.instruction}
    body = ours(ask, top_n=len(ask.documents) or None, return_documents=True, **more)
    answer = post(f"{ask.url}/v1/rerank", ask, body)
    assert all(result["document"]["text"] == ask.documents[result["index"]] for result in answer["results"])
    return best_first(answer["results"])


REFUSED = dict.fromkeys((EMPTY, KEY, MODEL, FULL), Raises(Refused))
REFUSED_TEI = REFUSED | {MODEL: SendsNone()}
UNRANKED = dict.fromkeys((EMPTY, KEY, MODEL, FULL), Returns(None))


def status(error: Exception) -> str:
    return str(error.status) if isinstance(error, Refused) else type(error).__name__


def client(name: str, ask, expected=REFUSED, *, instructs: bool = False) -> Client:
    return Client(name=name, package=None, ask=ask, expected=expected, named=status, instructs=instructs)


run(
    [
        client("Open WebUI, external reranker", open_webui, UNRANKED),
        client("Dify, OpenAI-API-compatible", dify_openai),
        client("Dify, Text Embeddings Inference", dify_tei, REFUSED_TEI),
        client("Dify, LocalAI", dify_localai),
        client("Dify, Jina", dify_jina),
        client("Dify, Xinference", dify_xinference),
        client("RAGFlow, HuggingFace", ragflow_tei, REFUSED_TEI),
        client("RAGFlow, Xinference", ragflow("v1/rerank", return_documents="true", return_len="true")),
        client("RAGFlow, LocalAI", ragflow("rerank", top_n=6)),
        client("RAGFlow, OpenAI-API-compatible", ragflow("v1/rerank", top_n=6)),
        client("RAGFlow, Jina", ragflow("v1/rerank", top_n=6)),
        client("LightRAG, cohere", lightrag("/v2/rerank")),
        client("LightRAG, jina", lightrag("/v1/rerank", return_documents=False)),
        client("vLLM, instruction", vllm(lambda text: {"instruction": text}), instructs=True),
        client(
            "vLLM, chat_template_kwargs",
            vllm(lambda text: {"chat_template_kwargs": {"instruction": text}}),
            instructs=True,
        ),
        client("SGLang, instruct", sglang, instructs=True),
    ]
)
