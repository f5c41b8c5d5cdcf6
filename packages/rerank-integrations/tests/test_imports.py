"""What the adapters bring into an interpreter, seen in a fresh one."""

import subprocess
import sys

import pytest

CLIENT = """
from rerank_integrations.client import HTTPScorer
print(HTTPScorer(url).score("panda", ["a train", "a panda"]).values)
"""
LANGCHAIN = """
from langchain_core.documents import Document
from rerank_integrations.langchain import RerankCompressor
documents = [Document(page_content=text) for text in ("a train", "a panda")]
print(RerankCompressor.from_url(url).compress_documents(documents, "panda"))
"""
LLAMA_INDEX = """
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_integrations.llama_index import RerankPostprocessor
nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("a train", "a panda")]
print(RerankPostprocessor.from_url(url).postprocess_nodes(nodes, query_str="panda"))
"""
ABSENT = """
class Absent:
    def __init__(self, library):
        self.library = library

    def find_spec(self, name, *_):
        if name == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
"""
FIRST_CALL = """
import asyncio

async def main():
    await asyncio.sleep(0)
    before = set(sys.modules)
    found = await ask()
    late = [name for name in sys.modules if name not in before]
    print(len(found), *late)

asyncio.run(main())
"""
ASYNC = {
    "client": """
from rerank_integrations.client import HTTPScorer
scorer = HTTPScorer(url)

async def ask():
    return (await scorer.ascore("panda", ["a train"])).values
""",
    "langchain": """
from langchain_core.documents import Document
from rerank_integrations.langchain import RerankCompressor
compressor = RerankCompressor.from_url(url)

async def ask():
    return await compressor.acompress_documents([Document("a train")], "panda")
""",
    "llama_index": """
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_integrations.llama_index import RerankPostprocessor
postprocessor = RerankPostprocessor.from_url(url)

async def ask():
    return await postprocessor.apostprocess_nodes([NodeWithScore(node=TextNode(text="a"))], query_str="panda")
""",
}
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "sentence_transformers", "huggingface_hub"}


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Warnings are errors there too."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", "import sys; url = sys.argv[-1]\n" + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(CLIENT, id="client"),
        pytest.param(LANGCHAIN, id="langchain"),
        pytest.param(LLAMA_INDEX, id="llama_index"),
    ],
)
def test_scoring_over_http_brings_in_nothing_that_runs_models(code: str, url: str) -> None:
    done = run(code + "print('modules', *sys.modules)", url)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    _, _, modules = done.stdout.partition("modules ")
    assert HEAVY.isdisjoint(modules.split())


@pytest.mark.parametrize("adapter", list(ASYNC))
def test_the_first_asynchronous_call_imports_nothing(adapter: str, url: str) -> None:
    """An import holds the event loop, and everything else that runs on it."""
    done = run(ASYNC[adapter] + FIRST_CALL, url)

    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(
    ("library", "module", "extra"),
    [("langchain_core", "langchain", "langchain"), ("llama_index.core", "llama_index", "llama-index")],
)
def test_a_missing_framework_is_an_error_that_names_the_extra(library: str, module: str, extra: str) -> None:
    done = run(f"{ABSENT}\nsys.meta_path.insert(0, Absent({library!r}))\nimport rerank_integrations.{module}")

    assert done.returncode == 1
    assert f"install rerank-integrations[{extra}] (docs/install.md" in done.stderr.splitlines()[-1]


def test_the_scorer_for_servers_is_found_by_its_entry_point(url: str) -> None:
    done = run(
        "from importlib.metadata import entry_points\n"
        "(entry,) = entry_points(group='rerank.scorers', name='http')\n"
        "print(entry.load()(url).score('panda', ['a panda']).model)",
        url,
    )

    assert done.stdout == "overlap\n", done.stderr
