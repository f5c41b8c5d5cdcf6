"""The wheels, as strangers install them: each package with what it needs, alone and beside the others."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

Environment = Callable[..., Any]


def test_core_alone_says_what_it_lacks(install: Environment) -> None:
    core = install("rerank-core")

    assert core.packages() == {"rerank-core"}
    assert core.run("rerank", "rank", "--help")[0] == 0
    code, _, said = core.run("rerank", "info", "lite")
    assert code == 1
    assert "install rerank-core[torch]" in said


def test_the_server_without_torch_says_what_it_lacks(install: Environment) -> None:
    server = install("rerank-server")

    assert {"rerank-core", "rerank-server"} <= server.packages()
    assert "rerank-integrations" not in server.packages()
    assert server.run("rerank", "serve", "--help")[0] == 0
    code, _, said = server.run("rerank-server", "--check", MODEL_NAME="somebody/reranker")
    assert code == 1
    assert "[torch]" in said


def test_the_client_needs_neither_torch_nor_a_framework_nor_the_server(install: Environment) -> None:
    integrations = install("rerank-integrations")

    assert integrations.packages().isdisjoint({"torch", "langchain-core", "llama-index-core", "rerank-server"})
    code = (
        "from rerank_core import RerankError\n"
        "from rerank_integrations.client import HTTPScorer\n"
        "try: HTTPScorer('http://127.0.0.1:9').score('a', ['b'])\n"
        "except RerankError as error: print(error)\n"
    )
    assert "127.0.0.1:9" in integrations.run("python", "-c", code)[1]


def test_server_and_client_score_alike_with_nothing_else_installed(
    install: Environment, serving: Callable[..., AbstractContextManager[Any]], tiny: Path
) -> None:
    together = install("rerank-server[torch]", "rerank-integrations")
    score = ".score('panda', ['a bear']).values"

    in_process = together.run("python", "-c", f"import rerank_core; print(rerank_core.load('{tiny}'){score})")
    with serving(tiny, command=(together.programs / "rerank-server",)) as server:
        client = "from rerank_integrations.client import HTTPScorer"
        over_http = together.run("python", "-c", f"{client}; print(HTTPScorer('{server.url}'){score})")

    assert in_process == over_http
    assert in_process[0] == 0


@pytest.mark.parametrize(
    ("extra", "module"),
    [("langchain", "rerank_integrations.langchain"), ("llama-index", "rerank_integrations.llama_index")],
)
def test_an_adapter_needs_only_its_framework(install: Environment, extra: str, module: str) -> None:
    adapter = install(f"rerank-integrations[{extra}]")

    assert adapter.run("python", "-c", f"import {module}")[0] == 0
    assert "torch" not in adapter.packages()
