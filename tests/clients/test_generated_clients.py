"""Clients that are generated from ``/openapi.json``: they compile, and are answered as any other client is.

Each generator gets the document of a real server. A program of ``generated`` uses what it makes as a user would.
"""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

PROGRAMS = Path(__file__).parent / "generated"
QUERY = "what is a panda?"
PANDA = "The giant panda is a bear of China."
DOCUMENTS = ["Paris is a city.", {"text": PANDA}]
LIMIT = 300.0  # seconds of one step, on a busy machine

pytestmark = pytest.mark.timeout(900)  # a generator may have to be downloaded first


@pytest.fixture(scope="module")
def environments() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        return importlib.import_module("environments")


@pytest.fixture
def document(lite_server: Any, tmp_path: Path) -> Path:
    """The file of the server's document."""
    file = tmp_path / "openapi.json"
    file.write_bytes(httpx.get(f"{lite_server.url}/openapi.json").content)
    return file


@pytest.fixture
def expected(lite_server: Any) -> list[list[Any]]:
    """What each program should write: the state, the score of a pair, and a ranking."""
    with httpx.Client(base_url=lite_server.url) as client:
        status = client.get("/health").json()["status"]
        score = client.post("/rerank", json={"query": QUERY, "passage": PANDA}).json()["score"]
        body = {"query": QUERY, "documents": DOCUMENTS, "return_documents": True}
        results = client.post("/v1/rerank", json=body).json()["results"]
    ranking = [[it["index"], it["relevance_score"], it["document"]["text"]] for it in results]
    return [[status], [score], *ranking]


def written(output: str) -> list[list[Any]]:
    status, score, *ranking = output.splitlines()
    rows = [line.split(" ", 2) for line in ranking]
    return [[status], [float(score)], *([int(index), float(score), text] for index, score, text in rows)]


def run(*command: str | Path, cwd: Path) -> str:
    """What a program writes. It has to end well."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def needed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"SKIPPED LOUDLY: {program} is not installed, the client that needs it was not generated")


def installed(environments: Any, kind: str, name: str, *what: str) -> Path:
    """Where packages of npm, or a Python with distributions, lie; skips where they cannot be had."""
    try:
        return Path(getattr(environments, kind)(name, what))
    except environments.NotInstalled as problem:
        pytest.skip(f"SKIPPED LOUDLY: {' '.join(what)}: {problem}")


def test_typescript_has_plain_types(
    environments: Any, lite_server: Any, document: Path, expected: list[Any], tmp_path: Path
) -> None:
    packages = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
    folder = installed(environments, "install_packages", "openapi_typescript", *packages)
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    shutil.copy(PROGRAMS / "usage.mts", tmp_path)
    tools = tmp_path / "node_modules" / ".bin"

    run(tools / "openapi-typescript", document, "--output", "schema.mts", cwd=tmp_path)
    run(
        *(tools / "tsc", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"),
        *("--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--module", "nodenext", "usage.mts"),
        cwd=tmp_path,
    )

    assert written(run("node", "usage.mjs", lite_server.url, cwd=tmp_path)) == expected


def test_python_has_plain_types(
    environments: Any, lite_server: Any, document: Path, expected: list[Any], tmp_path: Path
) -> None:
    python = installed(environments, "install_requirements", "openapi_python_client", "openapi-python-client==0.29.1")
    shutil.copy(PROGRAMS / "usage.py", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"post_hooks": []}))  # by default it calls a formatter
    options = ("--config", "config.json", "--meta", "none", "--output-path", "rerank_client", "--fail-on-warning")

    run(python, "-m", "openapi_python_client", "generate", "--path", document, *options, cwd=tmp_path)
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "usage.py", cwd=tmp_path)

    assert written(run(python, "usage.py", lite_server.url, cwd=tmp_path)) == expected


def test_java_compiles(
    environments: Any, lite_server: Any, document: Path, expected: list[Any], tmp_path: Path
) -> None:
    needed("java", "javac")
    python = installed(environments, "install_requirements", "openapi_generator", "openapi-generator-cli==7.26.0")
    found = run(python, "-c", "import openapi_generator_cli as it; print(it.__file__)", cwd=tmp_path)
    jar = Path(found.strip()).parent / "openapi-generator.jar"  # it holds the libraries that a client needs, too
    options = {"invokerPackage": "client", "apiPackage": "client.api", "modelPackage": "client.model"}
    options |= {"openApiNullable": "false"}
    parts = "apis,models,supportingFiles,apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"

    run(
        *("java", "-jar", jar, "generate", "--input-spec", document, "--output", "java"),
        *("--generator-name", "java", "--library", "native", "--global-property", parts),
        *("--additional-properties", ",".join(f"{name}={value}" for name, value in options.items())),
        cwd=tmp_path,
    )
    sources = sorted((tmp_path / "java" / "src" / "main").rglob("*.java"))
    programs = (PROGRAMS / "Usage.java", PROGRAMS / "Generated.java")
    run("javac", "-proc:none", "-nowarn", "-d", "classes", "-cp", jar, *programs, *sources, cwd=tmp_path)

    output = run("java", "-cp", f"classes:{jar}", "Usage", lite_server.url, cwd=tmp_path)
    assert len(sources) > len(json.loads(document.read_text())["components"]["schemas"])
    assert written(output) == expected
