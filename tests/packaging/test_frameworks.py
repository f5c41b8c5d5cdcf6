"""The oldest LangChain and LlamaIndex that the package takes: the adapters rank, and are saved and loaded."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)

LANGCHAIN = """
import asyncio, sys
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from rerank_core import ScoreOptions
from rerank_integrations.langchain import RerankCompressor, RerankCrossEncoder

url, query, *texts = sys.argv[1:]
made = RerankCompressor.from_url(url, api_key="key", top_n=1, options=ScoreOptions(raw=True), on_error="passthrough")
saved = dumps(made)
again = loads(saved, allowed_objects=[RerankCompressor], valid_namespaces=["rerank_integrations"])
assert dumps(again) == saved.replace(', "api_key": {"lc": 1, "type": "secret", "id": ["RERANK_API_KEY"]}', "")
assert RerankCompressor.model_json_schema()["properties"]["scorer"]
documents = [Document(text) for text in texts]
for found in (again.compress_documents(documents, query), asyncio.run(again.acompress_documents(documents, query))):
    print(found[0].page_content)
RerankCrossEncoder.from_url(url).score([(query, text) for text in texts])
"""
LLAMA_INDEX = """
import asyncio, sys
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_core import ScoreOptions
from rerank_integrations.llama_index import RerankPostprocessor

url, query, *texts = sys.argv[1:]
options = ScoreOptions(long_documents="chunk")
made = RerankPostprocessor.from_url(url, api_key="key", top_n=1, options=options, on_error="passthrough")
again = RerankPostprocessor.from_json(made.to_json())
assert again.to_dict() == made.to_dict()
assert RerankPostprocessor.model_json_schema()["properties"]["scorer"]
nodes = [NodeWithScore(node=TextNode(text=text, metadata={"title": "a page"})) for text in texts]
later = asyncio.run(again.apostprocess_nodes(nodes, query_str=query))
for found in (again.postprocess_nodes(nodes, query_str=query), later):
    print(found[0].node.text)
    assert found[0].node.metadata["relevance_span"] == [0, len(found[0].node.text)]
"""


@pytest.mark.parametrize(("extra", "program"), [("langchain", LANGCHAIN), ("llama-index", LLAMA_INDEX)])
def test_an_adapter_works_with_the_oldest_version_of_its_framework(
    extra: str, program: str, root: Path, uv: Any, wheels: Path, make_environment: Any, tmp_path: Path, lite_server: Any
) -> None:
    project = tomllib.loads((root / "packages" / "rerank-integrations" / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    (requirement,) = project["optional-dependencies"][extra]
    oldest = requirement.partition(",")[0].replace(">=", "==")
    environment = make_environment(tmp_path / "environment", f"rerank-integrations[{extra}]")
    python = environment.programs / "python"
    done = uv("pip", "install", "--python", python, "--find-links", wheels, f"rerank-integrations[{extra}]", oldest)
    assert done.returncode == 0, done.stderr
    texts = ["Paris is a city.", "The giant panda is a bear."]

    status, out, error = environment.run("python", "-c", program, lite_server.url, "what is a giant panda?", *texts)

    assert status == 0, error
    assert out.splitlines() == [texts[1]] * 2
