"""The clients, by groups that can share an environment, and the versions that they are run with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """A client, with B for our address.

    ``package`` is its distribution, or the program that is replayed. ``product`` and ``setting`` are what a user looks
    for: the product, and what to set in it. Clients that have both in common share a row of the users' page.
    ``field`` is the name of its instruction in a request. ``remark`` is for the user, beside what the results show.
    """

    name: str
    package: str
    call: str
    product: str
    setting: str
    field: str = "instruction"
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """What one environment can hold: ``groups/with_NAME.py`` is run in it. No requirements: in ours.

    ``packages`` are those of npm, ``versions`` are of what is replayed.
    """

    name: str
    requirements: tuple[str, ...]
    clients: tuple[Listed, ...]
    versions: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        """The file's name."""
        return f"with_{self.name}.py"

    def version(self, package: str) -> str:
        """What is pinned, or replayed."""
        pinned = {name: version for name, _, version in (entry.partition("==") for entry in self.requirements)}
        pinned |= {name: version for name, _, version in (entry.rpartition("@") for entry in self.packages)}
        return (pinned | dict(self.versions))[package]


_OPEN_WEBUI, _DIFY, _RAGFLOW, _LIGHTRAG = "Open WebUI", "Dify", "RAGFlow", "LightRAG"
_VLLM, _SGLANG = "vLLM", "SGLang"

GROUPS = (
    Group(
        "cohere",
        ("cohere==7.3.1",),
        (
            Listed(
                "Cohere v2", "cohere", "`cohere.ClientV2(base_url=B).rerank`", "Cohere SDK, v1 and v2", "`base_url=B`"
            ),
            Listed(
                "Cohere v2, without retries",
                "cohere",
                "the same, with `request_options={'max_retries': 0}`",
                "Cohere SDK, v1 and v2",
                "`base_url=B`",
            ),
            Listed(
                "Cohere v2, async",
                "cohere",
                "`cohere.AsyncClientV2(base_url=B).rerank`",
                "Cohere SDK, v1 and v2",
                "`base_url=B`",
            ),
            Listed(
                "Cohere v1",
                "cohere",
                "`cohere.Client(base_url=B).rerank`, with `return_documents`",
                "Cohere SDK, v1 and v2",
                "`base_url=B`",
            ),
            Listed(
                "Cohere v1, async",
                "cohere",
                "`cohere.AsyncClient(base_url=B).rerank`, with `return_documents`",
                "Cohere SDK, v1 and v2",
                "`base_url=B`",
            ),
        ),
    ),
    Group(
        "voyageai",
        ("voyageai==0.5.0",),
        (
            Listed("Voyage", "voyageai", "`voyageai.Client(base_url=B/v1).rerank`", "Voyage SDK", "`base_url=B/v1`"),
            Listed(
                "Voyage, async",
                "voyageai",
                "`voyageai.AsyncClient(base_url=B/v1).rerank`, with `top_k`",
                "Voyage SDK",
                "`base_url=B/v1`",
            ),
        ),
    ),
    Group(
        "rerankers",
        ("rerankers==0.10.0", "requests==2.34.2"),
        (
            Listed(
                "rerankers, cohere",
                "rerankers",
                "`APIRanker(..., url=B/v1/rerank).rank`",
                "rerankers: `cohere`, `jina`, `voyage`",
                "`url=B/v1/rerank`",
            ),
            Listed(
                "rerankers, jina",
                "rerankers",
                "`APIRanker(..., url=B/v1/rerank).rank`",
                "rerankers: `cohere`, `jina`, `voyage`",
                "`url=B/v1/rerank`",
            ),
            Listed(
                "rerankers, voyage",
                "rerankers",
                "`APIRanker(..., url=B/v1/rerank).rank`",
                "rerankers: `cohere`, `jina`, `voyage`",
                "`url=B/v1/rerank`",
            ),
            Listed(
                "rerankers, text-embeddings-inference",
                "rerankers",
                "`APIRanker(..., url=B/rerank).rank`",
                "rerankers: `text-embeddings-inference`",
                "`url=B/rerank`",
            ),
        ),
    ),
    Group(
        "litellm",
        ("litellm==1.109.1",),
        (
            Listed(
                "LiteLLM, cohere",
                "litellm",
                "`litellm.rerank(api_base=B)`",
                "LiteLLM: `cohere`, `jina_ai`",
                "`api_base=B`",
            ),
            Listed(
                "LiteLLM, cohere, async",
                "litellm",
                "`litellm.arerank(api_base=B)`",
                "LiteLLM: `cohere`, `jina_ai`",
                "`api_base=B`",
            ),
            Listed(
                "LiteLLM, jina_ai",
                "litellm",
                "`litellm.rerank(api_base=B)`",
                "LiteLLM: `cohere`, `jina_ai`",
                "`api_base=B`",
            ),
            Listed(
                "LiteLLM, hosted_vllm",
                "litellm",
                "`litellm.rerank(api_base=B)`",
                "LiteLLM: `hosted_vllm`",
                "`api_base=B`",
            ),
            Listed(
                "LiteLLM, huggingface",
                "litellm",
                "`litellm.rerank(api_base=B)`",
                "LiteLLM: `huggingface`",
                "`api_base=B`",
            ),
            Listed(
                "LiteLLM, infinity",
                "litellm",
                "`litellm.rerank(api_base=B/infinity)`",
                "LiteLLM: `infinity`",
                "`api_base=B/infinity`",
            ),
            Listed(
                "LiteLLM, voyage",
                "litellm",
                "`litellm.rerank(api_base=B/voyage)`",
                "LiteLLM: `voyage`",
                "`api_base=B/voyage`",
            ),
        ),
    ),
    Group(
        "infinity",
        ("infinity-client==0.0.78",),
        (
            Listed(
                "Infinity client",
                "infinity-client",
                "`rerank.sync(client=AuthenticatedClient(B, raise_on_unexpected_status=True))`",
                "Infinity client",
                "`AuthenticatedClient(B, raise_on_unexpected_status=True)`",
            ),
            Listed(
                "Infinity client, async",
                "infinity-client",
                "`rerank.asyncio(client=AuthenticatedClient(B, raise_on_unexpected_status=True))`",
                "Infinity client",
                "`AuthenticatedClient(B, raise_on_unexpected_status=True)`",
            ),
            Listed(
                "Infinity client, as it comes",
                "infinity-client",
                "`rerank.sync(client=AuthenticatedClient(B))`",
                "Infinity client, by default",
                "`AuthenticatedClient(B)`",
            ),
        ),
    ),
    Group(
        "langchain_cohere",
        ("langchain-cohere==0.6.0", "cohere==5.21.1"),
        (
            Listed(
                "LangChain CohereRerank",
                "langchain-cohere",
                "`CohereRerank(base_url=B).compress_documents`",
                "LangChain `CohereRerank`",
                "`base_url=B`",
            ),
        ),
    ),
    Group(
        "langchain_nvidia",
        ("langchain-nvidia-ai-endpoints==1.5.0",),
        (
            Listed(
                "LangChain NVIDIARerank",
                "langchain-nvidia-ai-endpoints",
                "`NVIDIARerank(base_url=B/v1).compress_documents`",
                "LangChain `NVIDIARerank`",
                "`base_url=B/v1`",
            ),
            Listed(
                "LangChain NVIDIARerank, async",
                "langchain-nvidia-ai-endpoints",
                "`NVIDIARerank(base_url=B/v1).acompress_documents`",
                "LangChain `NVIDIARerank`",
                "`base_url=B/v1`",
            ),
        ),
    ),
    Group(
        "llama_index",
        (
            "llama-index-postprocessor-cohere-rerank==0.10.0",
            "llama-index-postprocessor-tei-rerank==0.6.0",
            "llama-index-postprocessor-jinaai-rerank==0.6.0",
            "llama-index-postprocessor-xinference-rerank==0.5.0",
            "llama-index-postprocessor-siliconflow-rerank==0.5.0",
            "llama-index-core==0.14.25",
            "cohere==6.1.0",
        ),
        (
            Listed(
                "LlamaIndex CohereRerank",
                "llama-index-postprocessor-cohere-rerank",
                "`CohereRerank(base_url=B)`",
                "LlamaIndex `CohereRerank`",
                "`base_url=B`",
            ),
            Listed(
                "LlamaIndex TextEmbeddingInference",
                "llama-index-postprocessor-tei-rerank",
                "`TextEmbeddingInference(base_url=B, auth_token='Bearer KEY')`",
                "LlamaIndex `TextEmbeddingInference`",
                "`base_url=B`, `auth_token='Bearer KEY'`",
            ),
            Listed(
                "LlamaIndex JinaRerank",
                "llama-index-postprocessor-jinaai-rerank",
                "`JinaRerank(base_url=B/v1)`",
                "LlamaIndex `JinaRerank`",
                "`base_url=B/v1`",
            ),
            Listed(
                "LlamaIndex XinferenceRerank",
                "llama-index-postprocessor-xinference-rerank",
                "`XinferenceRerank(base_url=B)`",
                "LlamaIndex `XinferenceRerank`",
                "`base_url=B`",
            ),
            Listed(
                "LlamaIndex SiliconFlowRerank",
                "llama-index-postprocessor-siliconflow-rerank",
                "`SiliconFlowRerank(base_url=B/v1/rerank)`",
                "LlamaIndex `SiliconFlowRerank`",
                "`base_url=B/v1/rerank`",
            ),
        ),
    ),
    Group(
        "haystack",
        (
            "haystack-ai==3.4.1",
            "huggingface-api-haystack==3.1.0",
            "jina-haystack==2.0.1",
            "cohere-haystack==11.0.0",
        ),
        (
            Listed(
                "Haystack HuggingFaceTEIRanker",
                "huggingface-api-haystack",
                "`HuggingFaceTEIRanker(url=B)`",
                "Haystack `HuggingFaceTEIRanker`",
                "`url=B`",
            ),
            Listed(
                "Haystack JinaRanker",
                "jina-haystack",
                "`JinaRanker(base_url=B/v1/rerank)`",
                "Haystack `JinaRanker`",
                "`base_url=B/v1/rerank`",
            ),
            Listed(
                "Haystack CohereRanker",
                "cohere-haystack",
                "`CohereRanker(api_base_url=B)`",
                "Haystack `CohereRanker`",
                "`api_base_url=B`",
            ),
        ),
    ),
    Group(
        "xinference",
        ("xinference-client==4.1.0",),
        (
            Listed(
                "Xinference client, handle",
                "xinference-client",
                "`RESTfulRerankModelHandle(base_url=B).rerank`",
                "Xinference client",
                "`base_url=B`",
            ),
            Listed(
                "Xinference client, get_model",
                "xinference-client",
                "`Client(B).get_model(...).rerank`",
                "Xinference client",
                "`base_url=B`",
            ),
        ),
    ),
    Group(
        "npm",
        (),
        (
            Listed(
                "cohere-ai v2",
                "cohere-ai",
                "`new CohereClientV2({ environment: B }).rerank`",
                "Cohere SDK for JavaScript, v1 and v2",
                "`environment: B`",
            ),
            Listed(
                "cohere-ai v1",
                "cohere-ai",
                "`new CohereClient({ environment: B }).rerank`, with `returnDocuments`",
                "Cohere SDK for JavaScript, v1 and v2",
                "`environment: B`",
            ),
            Listed(
                "@langchain/cohere",
                "@langchain/cohere",
                "`new CohereRerank({ client: new CohereClient({ environment: B }) }).compressDocuments`",
                "LangChain.js `CohereRerank`",
                "`client: new CohereClient({ environment: B })`",
            ),
            Listed(
                "AI SDK, cohere",
                "@ai-sdk/cohere",
                "`rerank({ model: createCohere({ baseURL: B/v2 }).reranking(...) })` of `ai`",
                "Vercel AI SDK: `@ai-sdk/cohere`",
                "`baseURL: B/v2`",
            ),
            Listed(
                "voyageai for JavaScript",
                "voyageai",
                "`new VoyageAIClient({ environment: B/voyage/v1 }).rerank`",
                "Voyage SDK for JavaScript",
                "`environment: B/voyage/v1`",
            ),
        ),
        packages=(
            "cohere-ai@8.1.0",
            "@langchain/cohere@1.0.5",
            "@langchain/core@1.4.0",
            "ai@6.0.325",
            "@ai-sdk/cohere@3.0.63",
            "zod@4.6.7",
            "voyageai@0.4.0",
        ),
    ),
    Group(
        "replays",
        (),
        (
            Listed(
                "Open WebUI, external reranker",
                _OPEN_WEBUI,
                "`RAG_EXTERNAL_RERANKER_URL=B/v1/rerank`",
                "Open WebUI: external reranker",
                "`RAG_EXTERNAL_RERANKER_URL=B/v1/rerank`",
            ),
            Listed(
                "Dify, OpenAI-API-compatible",
                _DIFY,
                "endpoint URL `B/v1`",
                "Dify: OpenAI-API-compatible",
                "endpoint URL `B/v1`",
            ),
            Listed(
                "Dify, Text Embeddings Inference",
                _DIFY,
                "server URL `B`: `GET /info`, `POST /rerank`",
                "Dify: Text Embeddings Inference",
                "server URL `B`",
            ),
            Listed("Dify, LocalAI", _DIFY, "server URL `B`", "Dify: LocalAI", "server URL `B`"),
            Listed("Dify, Jina", _DIFY, "base URL `B/v1`", "Dify: Jina", "base URL `B/v1`"),
            Listed("Dify, Xinference", _DIFY, "server URL `B`", "Dify: Xinference", "server URL `B`"),
            Listed(
                "RAGFlow, HuggingFace",
                _RAGFLOW,
                "base URL `B`, in batches of 8",
                "RAGFlow: HuggingFace",
                "base URL `B`",
            ),
            Listed(
                "RAGFlow, Xinference",
                _RAGFLOW,
                "base URL `B/v1/rerank`",
                "RAGFlow: Xinference",
                "base URL `B/v1/rerank`",
            ),
            Listed("RAGFlow, LocalAI", _RAGFLOW, "base URL `B`", "RAGFlow: LocalAI", "base URL `B`"),
            Listed(
                "RAGFlow, OpenAI-API-compatible",
                _RAGFLOW,
                "base URL `B/v1`",
                "RAGFlow: OpenAI-API-compatible",
                "base URL `B/v1`",
            ),
            Listed("RAGFlow, Jina", _RAGFLOW, "base URL `B/v1/rerank`", "RAGFlow: Jina", "base URL `B/v1/rerank`"),
            Listed(
                "LightRAG, cohere",
                _LIGHTRAG,
                "`RERANK_BINDING_HOST=B/v2/rerank`",
                "LightRAG: `cohere`",
                "`RERANK_BINDING_HOST=B/v2/rerank`",
            ),
            Listed(
                "LightRAG, jina",
                _LIGHTRAG,
                "`RERANK_BINDING_HOST=B/v1/rerank`",
                "LightRAG: `jina`",
                "`RERANK_BINDING_HOST=B/v1/rerank`",
            ),
            Listed(
                "vLLM, instruction",
                _VLLM,
                "`POST B/vllm/v1/rerank`, with `instruction`",
                "vLLM: requests to `/v1/rerank`",
                "`B/vllm/v1/rerank`",
            ),
            Listed(
                "vLLM, chat_template_kwargs",
                _VLLM,
                "`POST B/vllm/v1/rerank`, with `chat_template_kwargs.instruction`",
                "vLLM: requests to `/v1/rerank`",
                "`B/vllm/v1/rerank`",
            ),
            Listed(
                "SGLang, instruct",
                _SGLANG,
                "`POST B/v1/rerank`, with `instruct`; `results` are read, and not SGLang's list",
                "SGLang: requests to `/v1/rerank`",
                "`B/v1/rerank`",
                field="instruct",
                remark="read `results` in the answer: SGLang's own is a list",
            ),
        ),
        (
            (_OPEN_WEBUI, "replay of 0.12.4"),
            (_DIFY, "replay of plugins 7af2283"),
            (_RAGFLOW, "replay of b1b8cd6"),
            (_LIGHTRAG, "replay of 1.5.7"),
            (_VLLM, "replay of 0.33.0"),
            (_SGLANG, "replay of PR 16403"),
        ),
    ),
)
