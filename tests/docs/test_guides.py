"""The pages that teach show what happens: programs are files, code runs, commands print what is shown."""

import doctest
import json
import re
import runpy
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rerank_core.cli import main

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "examples" / "library"
PROGRAMS = {path.read_text(encoding="utf-8").strip() for path in LIBRARY.glob("*.py")}
PAGES = ["first-reranker", "choosing-results", "long-documents", "scores", "evaluation", "python", "adapters"]
SERVER = "http://localhost:8000"
BLOCK = re.compile(r"^```(?P<language>python|console|text)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Does what a page says, from its top to its end, in a folder that has the examples."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    server: str = SERVER
    names: dict[str, Any] = field(default_factory=dict)

    def python(self, code: str) -> None:
        """Run the code in the namespace of the page, with a server of ours, or find the program that it is."""
        if code.startswith('"""'):
            assert code.strip() in PROGRAMS, f"no file of examples/library is this program:\n{code}"
        else:
            exec(code.replace(SERVER, self.server), self.names)

    def console(self, session: str) -> None:
        """Run each command, and compare what it prints with the lines below it; ``...`` stands for anything."""
        for step in re.split(r"^\$ ", session.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            self.run(shlex.split(command))
            if output:
                self.text(output)
            else:
                self.capsys.readouterr()

    def run(self, command: list[str]) -> None:
        """Run one command in this process: a new one would import torch again."""
        match command:
            case ["python", program, *arguments]:
                self.monkeypatch.setattr(sys, "argv", [program, *arguments])
                runpy.run_path(program, run_name="__main__")
            case ["rerank", *arguments]:
                assert main(arguments) == 0, self.capsys.readouterr().err
            case ["pip", "install", *_]:
                pass  # tests/packaging installs
            case _:
                pytest.fail(f"no test can run {shlex.join(command)}")

    def text(self, shown: str) -> None:
        """Compare what was printed since the last look with what the page shows."""
        printed = self.capsys.readouterr().out.replace(self.server, SERVER)
        checker, options = doctest.OutputChecker(), doctest.ELLIPSIS
        example = doctest.Example("", shown, options=dict.fromkeys([options], True))
        assert checker.check_output(shown, printed, options), checker.output_difference(example, printed, options)


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_happens(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(LIBRARY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blocks = list(BLOCK.finditer((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")))
    server = request.getfixturevalue("lite_server").url if name in ("python", "adapters") else SERVER
    reader = Reader(capsys, monkeypatch, server)

    for block in blocks:
        getattr(reader, block["language"])(block["text"])

    assert blocks


@pytest.fixture(scope="module")
def handbook() -> dict[str, Any]:
    """The module of the example."""
    return runpy.run_path(str(LIBRARY / "handbook.py"))


def test_every_judgement_is_of_a_page_and_a_question_that_exist(handbook: dict[str, Any]) -> None:
    """A name that is wrong would only lower the figures."""
    questions = handbook["read"]("queries.jsonl")
    rows = [line.split("\t") for line in (LIBRARY / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]]

    assert rows
    assert [row for row in rows if row[0] not in questions or row[1] not in handbook["PAGES"]] == []


def test_the_candidates_are_what_the_search_finds(handbook: dict[str, Any]) -> None:
    lines = (LIBRARY / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    written = {record["query_id"]: record["candidates"] for record in map(json.loads, lines)}
    found = {name: handbook["search"](question, k=20) for name, question in handbook["read"]("queries.jsonl").items()}

    assert written == found, "run `python examples/library/write_candidates.py`"
