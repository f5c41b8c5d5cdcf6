"""Newer versions of Python: our packages without torch, their own tests, and the clients against a real server."""

import json
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rerank_integrations.client import HTTPScorer

pytestmark = pytest.mark.timeout(900)

PLUGINS = Path(__file__).parent / "newer_python"
VERSIONS = ("3.12", "3.13", "3.14")
OURS = ("rerank-core", "rerank-server[otel]", "rerank-integrations[langchain,llama-index]")
THEIRS = (
    "bm25s", "hypothesis", "ir-measures", "jsonschema", "langchain-classic", "matplotlib", "openapi-spec-validator",
    "pandas", "pyarrow", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "tokenizers", "tqdm",
)  # fmt: skip
# Modules that need torch or Ray, which are not installed.
NEED_MORE = ("rerank_core.engines.", "rerank_integrations.ray", "rerank_server.ray")

IMPORT_ALL = """
import importlib, json, pkgutil, sys, warnings
warnings.filterwarnings("error", module="rerank_")
failed = {}
for package in ("rerank_core", "rerank_server", "rerank_integrations"):
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, package + ".", onerror=lambda name: None):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = repr(error)
print(json.dumps([sys.version.split()[0], failed]))
"""
SCORE = """
import sys
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from rerank_integrations.client import HTTPScorer
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

url, query, *texts = sys.argv[1:]
with HTTPScorer(url) as scorer:
    print(*scorer.score(query, texts).values)
documents = [Document(text) for text in texts]
print(*(d.metadata["relevance_score"] for d in RerankCompressor.from_url(url).compress_documents(documents, query)))
nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
print(*(node.score for node in RerankPostprocessor.from_url(url).postprocess_nodes(nodes, query_str=query)))
"""


@pytest.mark.parametrize("package", ["rerank-core", "rerank-server", "rerank-integrations"])
def test_a_package_names_the_versions_that_its_tests_are_run_on_and_no_others(root: Path, package: str) -> None:
    project = tomllib.loads((root / "packages" / package / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" :: ")[2] for line in project["classifiers"] if " :: Python :: " in line]

    assert named == [project["requires-python"].removeprefix(">="), *VERSIONS]


@pytest.fixture(scope="module", params=VERSIONS)
def python(
    request: pytest.FixtureRequest,
    interpreter: Callable[[str], str],
    make_environment: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """An environment of a newer Python with our wheels and what their tests need, without torch."""
    program = interpreter(request.param)
    environment = make_environment(tmp_path_factory.mktemp("python") / "environment", *OURS, *THEIRS, python=program)
    assert "torch" not in environment.packages()
    return environment


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for compiled modules, so that nothing is written beside the sources."""
    return tmp_path_factory.mktemp("compiled")


def test_whatever_needs_no_torch_is_imported(python: Any, request: pytest.FixtureRequest) -> None:
    """A warning of our own code is an error: what is deprecated in one Python is gone in a later one."""
    status, out, error = python.run("python", "-c", IMPORT_ALL)

    assert status == 0, error
    version, failed = json.loads(out)
    assert version.startswith(request.node.callspec.params["python"] + ".")
    assert {name: why for name, why in failed.items() if not name.startswith(NEED_MORE)} == {}


@pytest.mark.parametrize(
    ("package", "at_least"), [("rerank-core", 450), ("rerank-server", 1500), ("rerank-integrations", 800)]
)
def test_the_tests_of_a_package_pass_but_those_that_need_torch(
    python: Any, root: Path, tmp_path: Path, compiled: Path, package: str, at_least: int
) -> None:
    """A warning is an error where our code causes it; other libraries may not be ready for the newest Python."""
    report = tmp_path / "report.xml"

    status, out, _ = python.run(
        "python", "-m", "pytest", "-q", "-m", "everyday", "-p", "absent_libraries", "-p", "no:cacheprovider",
        "-o", "filterwarnings=default\nerror:::rerank_", "--numprocesses", "auto", "--maxprocesses", "8",
        "--dist", "loadfile", f"--junitxml={report}", f"packages/{package}",
        cwd=root, limit=800, PYTHONPATH=str(PLUGINS), PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=str(compiled),
    )  # fmt: skip

    assert status == 0, out[-5000:]
    counts = ElementTree.parse(report).getroot()[0].attrib
    assert int(counts["tests"]) - int(counts["skipped"]) >= at_least


def test_client_and_adapters_score_as_they_do_here(python: Any, tiny_server: Any) -> None:
    query, texts = "what is a giant panda", ["a bear", "the capital of France", "a panda eats bamboo"]
    with HTTPScorer(tiny_server.url) as scorer:
        here = scorer.score(query, texts).values

    status, out, error = python.run("python", "-c", SCORE, tiny_server.url, query, *texts)

    assert status == 0, error
    client, langchain, llama_index = ([float(value) for value in line.split()] for line in out.splitlines())
    assert tuple(client) == here
    assert langchain == llama_index == sorted(here, reverse=True)
