"""The install lines of the pages: each in an empty environment, and an example after it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/install.md", "docs/first-reranker.md")
TEXT = "".join((ROOT / page).read_text("utf-8") for page in PAGES)
LINES = re.findall(r"^\$ ((?:uv )?pip install (?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
COMMANDS = sorted({re.sub(r"\\\n *", "", line) for line in LINES})
LOCAL_COMMANDS = [command for command in COMMANDS if "[lite]" in command and "server" not in command]
SERVER_COMMANDS = [command for command in COMMANDS if "rerank-server" in command]
HTTP_COMMANDS = [command for command in COMMANDS if "torch" not in command]

NOT_REACHED = ("Temporary failure in name resolution", "NewConnectionError", "Failed to fetch", "dns error")
PANDA = "The giant panda is a bear species endemic to China."
LANGCHAIN, LLAMA_INDEX = "examples/langchain_rag.py", "examples/llama_index_rag.py"

# What the README's blocks find: a retriever or an index, whose first document is not the best one.
PRELUDES = {
    LANGCHAIN: """
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
your_retriever = RunnableLambda(lambda _: [Document("Paris is a city."), Document({panda!r})])
""",
    LLAMA_INDEX: """
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
documents = [Document(text="Paris is a city."), Document(text={panda!r})]
your_index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=8))
your_llm = MockLLM()
""",
}
FOUND = {LANGCHAIN: "print(documents[0].page_content)", LLAMA_INDEX: "print(answer.source_nodes[0].text)"}
MODULES = {LANGCHAIN: "rerank_integrations.langchain", LLAMA_INDEX: "rerank_integrations.llama_index"}

Install = Callable[[str], Any]


@pytest.fixture
def install(root: Path, uv: Any, wheels: Path, locked: Path, make_environment: Any, tmp_path: Path) -> Install:
    """Runs an install line in the clone, in an empty environment, with the dependencies of the lock."""
    environment = make_environment(tmp_path / "environment", "pip")
    constraints = {name: str(locked) for name in ("PIP_CONSTRAINT", "UV_CONSTRAINT")}
    folder = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    uv_folder = str(Path(shutil.which("uv") or root / ".uv" / "bin" / "uv").parent)

    def run(command: str) -> Any:
        command = command.replace("dist/", f"{wheels}/")
        if folder:
            command = command.replace("--torch-backend cpu", f"--find-links {folder}")
        variables = environment.environment(
            PATH=f"{environment.programs}:{uv_folder}:{os.environ['PATH']}",
            VIRTUAL_ENV=str(environment.programs.parent), RERANK=root.as_uri(), PIP_RETRIES="0", **constraints,
        )  # fmt: skip
        done = subprocess.run(
            ["sh", "-c", command], cwd=root, env=variables, capture_output=True, text=True, timeout=800, check=False
        )
        if done.returncode != 0 and any(sign in done.stdout + done.stderr for sign in NOT_REACHED):
            pytest.skip(f"SKIPPED LOUDLY: an index of packages is not reached, this was not installed: {command}")
        assert done.returncode == 0, done.stderr
        assert not [name for name in environment.packages() if name.startswith(("nvidia", "triton"))]
        return environment

    return run


def run_example(environment: Any, root: Path, program: str, old: str, new: str) -> None:
    """Run a program of `examples` with one thing replaced: the panda must come first."""
    code = (root / program).read_text("utf-8")
    assert old in code

    status, out, error = environment.run("python", "-c", code.replace(old, new))

    assert status == 0, error
    assert out.splitlines()[0].endswith(PANDA)


def run_readme(environment: Any, root: Path, program: str, url: str) -> None:
    """Run the README's block for a framework: the panda must come first."""
    blocks = re.findall(r"^```python\n(.*?)^```", (root / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if MODULES[program] in block]
    assert "http://localhost:8000" in block
    code = PRELUDES[program].format(panda=PANDA) + block.replace("http://localhost:8000", url) + FOUND[program]

    status, out, error = environment.run("python", "-c", code)

    assert status == 0, error
    assert out.splitlines() == [PANDA]


def test_every_install_line_is_run_here() -> None:
    assert set(COMMANDS) == {*LOCAL_COMMANDS, *SERVER_COMMANDS, *HTTP_COMMANDS}
    assert LOCAL_COMMANDS
    assert SERVER_COMMANDS
    assert [command for command in HTTP_COMMANDS if "[langchain]" in command]
    assert [command for command in HTTP_COMMANDS if "[llama-index]" in command]


@pytest.mark.parametrize("command", LOCAL_COMMANDS)
def test_a_model_scores_in_process_after_its_line(install: Install, root: Path, command: str) -> None:
    environment = install(command)

    if "bm25s" in command:
        for program in sorted((root / "examples" / "library").glob("with_*.py")):
            status, out, error = environment.run("python", program)
            assert status == 0, error
            assert out
    elif "[langchain]" in command:
        run_example(environment, root, LANGCHAIN, 'from_url("http://localhost:8000"', 'from_model("lite"')
    else:
        run_example(environment, root, "examples/python_local.py", "lite", "lite")


@pytest.mark.parametrize("command", SERVER_COMMANDS)
def test_a_server_starts_after_its_line(
    install: Install, serving: Callable[..., AbstractContextManager[Any]], command: str
) -> None:
    environment = install(command)

    with serving("lite", command=(environment.programs / "rerank-server",)) as server:
        assert httpx.get(f"{server.url}/health").json()["model_name"] == "bi-encoder, lite"


@pytest.mark.parametrize("command", HTTP_COMMANDS)
def test_an_adapter_asks_a_server_after_its_line_and_has_no_torch(
    install: Install, root: Path, lite_server: Any, command: str
) -> None:
    environment = install(command)

    assert "torch" not in environment.packages()
    program = LANGCHAIN if "[langchain]" in command else LLAMA_INDEX
    run_example(environment, root, program, "http://localhost:8000", lite_server.url)
    run_readme(environment, root, program, lite_server.url)
