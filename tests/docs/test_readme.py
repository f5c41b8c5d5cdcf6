"""Everything that the README shows, and the programs of `examples`, do what is said of them."""

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import rerank_core
import yaml
from rerank_core.engines.packed.architectures import ARCHITECTURES, DECODERS
from rerank_core.testing.checkpoints import write_tiny_checkpoint
from rerank_core.testing.language_models import write_prompt, write_tiny_language_model
from transformers import CONFIG_MAPPING

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "http://localhost:8000"
QUESTION = "what is a giant panda?"
PANDA = "The giant panda is a bear species endemic to China."
# The retriever's order: the best document is the last but one.
DOCUMENTS = ["Paris is the capital of France.", "pandas is a Python library.", PANDA, "Zurich is a city."]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, with the heading above it."""

    heading: str
    language: str
    text: str


def _blocks() -> Iterator[Block]:
    heading = ""
    for found in re.finditer(r"^## ([^\n]+)$|^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        heading = found[1] or heading
        if found[1] is None:
            yield Block(heading, found[2], found[3])


BLOCKS = tuple(_blocks())


def block(heading: str, language: str) -> str:
    """The only block of a language below a heading."""
    (found,) = [block.text for block in BLOCKS if (block.heading, block.language) == (heading, language)]
    return found


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _commands() -> Iterator[str]:
    for shown in BLOCKS:
        if shown.language == "console":
            yield from re.findall(r"^\$ ((?:.*\\\n)*.*)$", shown.text, re.MULTILINE)


COMMANDS = tuple(re.sub(r"\\\n *|  +#.*", "", command) for command in _commands())


def commands(pattern: str) -> list[str]:
    """The commands that begin with a pattern, after their variables."""
    return [command for command in COMMANDS if re.match(rf"(?:\w+=\S+ )*(?:{pattern})\b", command)]


def test_every_command_and_every_block_is_run_by_a_test() -> None:
    """`pip install` and `docker run` are run by the tests of wheels and of the image; see also below."""
    assert set(commands("make|pip install|rerank-server|docker run|curl")) == set(COMMANDS)
    assert {shown.heading for shown in BLOCKS if shown.language == "python"} == {"Python", "LangChain", "LlamaIndex"}
    assert {shown.language for shown in BLOCKS} == {"console", "python"}


# ---------------------------------------------------------------------------- commands

MAKES = {
    "make demo": "examples/demo/demo.py",
    "make test": "-m everyday",
    "make build": "compose build",
}


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_command_runs_what_is_said_of_it(command: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("SKIPPED LOUDLY: there is no make, the README's commands were not looked at")
    command = command[command.index("make ") :]

    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]],
        cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert MAKES[command] in done.stdout


@pytest.mark.parametrize("command", commands("pip install"))
def test_an_install_line_names_packages_and_extras_that_exist_and_the_torch_of_the_lock(command: str) -> None:
    ours = re.findall(r"rerank-(\w+)(?:\[([\w,-]+)\])?", command)
    locked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]

    assert set(re.findall(r"torch==[\d.]+", command)) <= set(locked)
    assert ours
    for package, extras in ours:
        project = tomllib.loads((ROOT / "packages" / f"rerank-{package}" / "pyproject.toml").read_text())["project"]
        assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])


def test_docker_runs_the_image_that_make_builds_at_the_port_that_curl_asks() -> None:
    (command,) = commands("docker run")
    compose = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())["services"]["reranker"]

    image = shlex.split(command)[-1]
    published = shlex.split(command)[shlex.split(command).index("-p") + 1]

    assert f"{image}:latest" in compose["image"]
    assert published == "8000:8000"


@pytest.fixture(scope="module")
def url(serve_process: Callable[..., AbstractContextManager[Any]]) -> Iterator[str]:
    """The address of a server that the README's own command started, at another port."""
    (command,) = commands("rerank-server")
    *variables, program = shlex.split(command)
    settings = dict(variable.split("=", 1) for variable in variables)
    with serve_process("", command=(f"{sysconfig.get_path('scripts')}/{program}",), **settings) as server:
        yield server.url


def test_the_curl_is_answered_as_shown(url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("SKIPPED LOUDLY: curl is not installed, the README's command was not run")
    (command,) = commands("curl")
    (shown,) = re.findall(r'^\{"id": \.\.\., "results": (\[.*\]), \.\.\.\}$', README, re.MULTILINE)

    done = subprocess.run(
        [*shlex.split(command.replace("localhost:8000", url.removeprefix("http://"))), "--fail"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [result | {"relevance_score": round(result["relevance_score"], 2)} for result in answer["results"]] == (
        json.loads(shown)
    )
    assert "id" in answer


# ---------------------------------------------------------------------------- Python


def run(code: str, **given: Any) -> tuple[dict[str, Any], str]:
    """Names and output of a block that finds these names."""
    names = {"__name__": "__main__", **given}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, "README.md", "exec"), names)
    return names, output.getvalue()


def test_the_python_block_prints_what_its_comments_show() -> None:
    _, output = run(block("Python", "python"))

    shown = re.findall(r"^# (.*)$", block("Python", "python"), re.MULTILINE)
    assert output.splitlines() == shown


@pytest.fixture
def retriever() -> Any:
    """A retriever that finds everything, in the order of `DOCUMENTS`."""
    from langchain_core.documents import Document
    from langchain_core.runnables import RunnableLambda

    return RunnableLambda(lambda _: [Document(text) for text in DOCUMENTS])


def test_the_langchain_block_brings_the_best_document_to_the_top(url: str, retriever: Any) -> None:
    names, _ = run(block("LangChain", "python").replace(URL, url), your_retriever=retriever)

    first, second, *others = names["documents"]
    assert first.page_content == PANDA
    assert first.metadata["relevance_score"] > second.metadata["relevance_score"]
    assert len(others) == len(DOCUMENTS) - 2


def test_without_a_server_the_langchain_block_keeps_the_retrievers_order(closed: str, retriever: Any) -> None:
    names, _ = run(block("LangChain", "python").replace(URL, closed), your_retriever=retriever)

    assert [document.page_content for document in names["documents"]] == DOCUMENTS
    assert {document.metadata["rerank_error"] for document in names["documents"]} == {"unavailable"}


def test_the_llama_index_block_brings_the_best_node_to_the_top(url: str) -> None:
    from llama_index.core import Document, MockEmbedding, VectorStoreIndex
    from llama_index.core.llms import MockLLM

    index = VectorStoreIndex.from_documents(
        [Document(text=text) for text in DOCUMENTS], embed_model=MockEmbedding(embed_dim=8)
    )

    names, _ = run(block("LlamaIndex", "python").replace(URL, url), your_index=index, your_llm=MockLLM())

    assert names["answer"].source_nodes[0].text == PANDA
    assert PANDA in str(names["answer"])  # the language model, which repeats what it is given, has read it


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_finds_the_panda(example: Path, url: str) -> None:
    _, output = run(example.read_text(encoding="utf-8").replace(URL, url))

    first, second = output.splitlines()
    assert first.endswith("The giant panda is a bear species endemic to China.")
    assert second.endswith("pandas is a Python library for data analysis.")


@pytest.fixture
def closed() -> Iterator[str]:
    """An address that nobody answers at."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))  # and does not listen
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


# ---------------------------------------------------------------------------- the table of base URLs

Ranking = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Client:
    """What a service's clients add to their base URL, send and read, and whether they take the scores for logits."""

    path: str
    body: dict[str, Any]
    read: Callable[[Any], Ranking]
    logits: bool = False


def _results(answer: Any) -> Ranking:
    return [(result["index"], result["relevance_score"]) for result in answer["results"]]


def _documents(**fields: Any) -> dict[str, Any]:
    return {"model": "any-name", "query": QUESTION, "documents": DOCUMENTS} | fields


CLIENTS = {
    "Cohere": Client("/v2/rerank", _documents(top_n=4), _results),
    "Jina": Client("/rerank", _documents(top_n=4, return_documents=False), _results),
    "Voyage": Client(
        "/rerank",
        _documents(top_k=None, truncation=True),
        lambda answer: [(found["index"], found["relevance_score"]) for found in answer["data"]],
    ),
    "text-embeddings-inference": Client(
        "/rerank",
        {"query": QUESTION, "texts": DOCUMENTS, "raw_scores": False},
        lambda answer: [(found["index"], found["score"]) for found in answer],
    ),
    "Infinity": Client("/rerank", _documents(raw_scores=False, return_documents=False), _results),
    "vLLM": Client("/v1/rerank", _documents(top_n=0), _results),
    "llama.cpp": Client("/v1/rerank", _documents(), _results, logits=True),
    "Xinference": Client(
        "/v1/rerank", _documents(top_n=None, return_documents=None, return_len=None, kwargs="{}"), _results
    ),
    "SiliconFlow": Client(
        "/rerank", _documents(return_documents=False, max_chunks_per_doc=1024, overlap_tokens=80), _results
    ),
    "NVIDIA NIM": Client(
        "/ranking",
        {"model": "m", "query": {"text": QUESTION}, "passages": [{"text": text} for text in DOCUMENTS]},
        lambda answer: [(found["index"], found["logit"]) for found in answer["rankings"]],
        logits=True,
    ),
}
BASES = {
    service: base.strip("`")
    for services, base in table("You already use another reranker")
    for service in services.split(", ")
}


def test_the_table_of_base_urls_has_every_service_whose_requests_are_sent() -> None:
    assert set(BASES) == set(CLIENTS)
    assert re.findall(r'cohere\.ClientV2\([^)]*base_url="(.*?)"\)', README) == [BASES["Cohere"]]


@pytest.fixture(scope="module")
def expected(url: str) -> Callable[[bool], Ranking]:
    """The ranking of our own route, in [0, 1] or as the model says it."""

    def rank(logits: bool) -> Ranking:
        pairs = [{"query": QUESTION, "passage": text} for text in DOCUMENTS]
        answer = httpx.post(f"{url}/rerank/batch", json={"pairs": pairs, "normalize": not logits}).raise_for_status()
        return sorted(enumerate(answer.json()["scores"]), key=lambda found: -found[1])

    return rank


@pytest.mark.parametrize("service", BASES)
def test_a_client_of_another_service_is_answered_at_its_base_url(
    service: str, url: str, expected: Callable[[bool], Ranking]
) -> None:
    client = CLIENTS[service]

    answer = httpx.post(BASES[service].replace(URL, url) + client.path, json=client.body)

    assert answer.status_code == 200, answer.text
    assert client.read(answer.json()) == expected(client.logits)


# ---------------------------------------------------------------------------- models

# Those that transformers can write: a name, and the model type of a tiny checkpoint.
FAMILIES = {
    family[0].name: model_type for model_type, family in ARCHITECTURES.items() if model_type in CONFIG_MAPPING
} | {"others that transformers loads": "albert"}
LANGUAGE_MODELS = {family.name: model_type for model_type, family in DECODERS.items() if model_type in CONFIG_MAPPING}


def _models() -> Iterator[tuple[str, str, str]]:
    """Kind, family and engine of what the table says that it runs."""
    for families, kinds, _, engine in table("Which models run"):
        for kind in kinds.split(", "):
            for family in families.split(" · "):
                if family in FAMILIES | LANGUAGE_MODELS:
                    yield re.sub(r"\[(.*?)\].*", r"\1", kind), family, engine.split("`")[1]


MODELS = list(_models())


def test_the_table_of_models_is_that_of_the_engines_families() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_models.py"))

    assert written["with_table"](README) == README, "run `make docs`"
    assert {family for _, family, _ in MODELS} == set(FAMILIES | LANGUAGE_MODELS)


@pytest.mark.parametrize(("kind", "family", "engine"), MODELS)
def test_a_family_runs_on_the_engine_of_its_row(kind: Any, family: str, engine: str, tmp_path: Path) -> None:
    if family in LANGUAGE_MODELS:
        write_tiny_language_model(tmp_path, LANGUAGE_MODELS[family])
        write_prompt(tmp_path, "{{ query }}: {{ document }}", true_id=5, false_id=6)
    else:
        write_tiny_checkpoint(tmp_path, FAMILIES[family], kind=kind)

    model = rerank_core.load(str(tmp_path), device="cpu")

    assert model.info.engine == engine
    assert model.info.kind == kind.replace(" ", "-")


def test_a_language_model_without_a_known_prompt_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    )

    with pytest.raises(rerank_core.CheckpointError, match="name a recipe with recipe="):
        rerank_core.load(str(tmp_path))


def test_an_image_is_refused_with_the_reason(url: str) -> None:
    image = {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}

    answer = httpx.post(f"{url}/v1/rerank", json=_documents() | {"documents": [image]})

    assert answer.status_code == 400
    assert "text only" in answer.json()["message"]
